"""Tests of `inference.precision`."""
