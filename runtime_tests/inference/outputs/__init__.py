"""Tests of `inference.outputs`."""
