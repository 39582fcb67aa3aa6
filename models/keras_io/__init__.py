"""Keras files in, frozen graphs out, without running what a file brings along.

May be imported by `cli`, `training`, `stacking`, `bundling`, `benchmark`.
"""
