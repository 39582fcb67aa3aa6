"""Tests of `inference.run`."""
