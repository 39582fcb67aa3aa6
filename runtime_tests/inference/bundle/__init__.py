"""Tests of `inference.bundle`."""
