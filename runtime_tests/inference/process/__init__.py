"""Tests of `inference.process`."""
