"""Operational settings, units, log format; they never affect the results.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `bundle`, `images`, `storage`, `models`, `benchmark`.
"""
