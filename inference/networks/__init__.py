"""Inputs -> outputs of networks: one engine a module, batched forward passes, the precision check.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
