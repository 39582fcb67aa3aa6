"""How long stages take, relative to reference kernels, and the regression gate.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`, `capacity`.
"""
