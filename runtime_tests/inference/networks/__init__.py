"""Tests of `inference.networks`."""
