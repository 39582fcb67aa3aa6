"""Tests of `inference.export`."""
