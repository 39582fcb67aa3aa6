"""An entry under the competition's contract, from archive to verdict.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`, `capacity`.
"""
