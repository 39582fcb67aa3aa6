"""Tests of `inference.execution`."""
