"""Where photos are: paths, folder entries, reading within a time limit.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `bundle`, `images`, `models`, `benchmark`.
"""
