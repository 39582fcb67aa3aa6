"""Tests of `benchmark.timing`."""
