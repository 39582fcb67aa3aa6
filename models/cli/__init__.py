"""`hakuna bundle`, `train`, `stack` and `pack`: options in, tables out.

May be imported by `benchmark`.
"""
