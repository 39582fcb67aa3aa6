"""Tests of `models.stacking`."""
