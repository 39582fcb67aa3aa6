"""Makes, verifies and packs bundles.

May be imported by `cli`, `benchmark`.
"""
