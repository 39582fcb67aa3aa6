"""A random sample of a run's sequences -> confidence bounds of the cost of a lower precision.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
