"""Trains the stackers of one set of records.

May be imported by `cli`, `benchmark`.
"""
