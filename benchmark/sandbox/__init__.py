"""Runs a foreign program where it can do no harm, and ends everything it started.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`, `capacity`, `timing`, `report`, `rehearsal`.
"""
