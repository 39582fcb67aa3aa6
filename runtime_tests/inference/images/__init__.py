"""Tests of `inference.images`."""
