"""Tests of `inference.dataset`."""
