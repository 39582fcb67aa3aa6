"""Tests of `models.spec`."""
