"""Draws seasons whose labels are known.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`, `capacity`, `timing`, `report`, `rehearsal`.
"""
