"""Tests of `inference.records`."""
