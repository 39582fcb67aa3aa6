"""Tests of `inference.settings`."""
