"""Records -> probabilities: aggregation, features, neighbourhood, stackers.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `models`, `benchmark`.
"""
