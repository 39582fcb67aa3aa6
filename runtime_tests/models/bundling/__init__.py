"""Tests of `models.bundling`."""
