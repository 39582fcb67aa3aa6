"""Tests of `benchmark.capacity`."""
