"""Answers in float32 and in a lower precision -> the cost of that precision, or bounds of it from a random sample.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
