"""The networks' outputs for a sequence, and its checksummed line on disk.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
