"""Judges: scores, demos, timings."""
