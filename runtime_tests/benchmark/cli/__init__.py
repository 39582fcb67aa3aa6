"""Tests of `benchmark.cli`."""
