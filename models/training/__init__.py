"""Trains one network, interrupted and continued as often as needed.

May be imported by `cli`, `benchmark`.
"""
