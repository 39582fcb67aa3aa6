"""Tests of `inference.ensemble`."""
