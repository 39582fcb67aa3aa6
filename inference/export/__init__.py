"""A finished run in formats of other programs.

May be imported by `cli`, `api`, `models`, `benchmark`.
"""
