"""The files of a run, written and read back.

May be imported by `cli`, `api`, `export`, `run`, `models`, `benchmark`.
"""
