"""Shared by every other room: labels, errors with exit codes, choices, sequences, atomic files.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `bundle`, `images`, `storage`, `process`, `settings`, `models`,
`benchmark`.
"""
