"""The page that shows a run to people: one HTML file that needs nothing but itself.

May be imported by `cli`, `studies`, `ablation`, `selftest`, `charts`, `capacity`.
"""
