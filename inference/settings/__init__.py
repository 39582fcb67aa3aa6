"""How to run, never what to compute: settings, units, log format.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `bundle`, `images`, `storage`, `models`, `benchmark`.
"""
