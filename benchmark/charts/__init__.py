"""Figures as plots, tables and one page.

May be imported by `cli`, `studies`, `ablation`, `selftest`.
"""
