"""Frames of a sequence -> inputs of networks, the same for predicting and for training.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `models`, `benchmark`.
"""
