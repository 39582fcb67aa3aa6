"""Tests of `models.data`."""
