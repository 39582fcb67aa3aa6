"""The contents of a model bundle: manifest, verification, allow-lists, passes.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `models`, `benchmark`.
"""
