"""Draws seasons whose labels are known. Imported by `timing`, studies and everything above."""
