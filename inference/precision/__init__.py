"""Comparison of a lower precision with float32, in units of the score.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
