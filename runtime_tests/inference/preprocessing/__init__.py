"""Tests of `inference.preprocessing`."""
