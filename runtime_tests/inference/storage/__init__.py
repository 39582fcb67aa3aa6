"""Tests of `inference.storage`."""
