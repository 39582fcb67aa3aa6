"""Tests of `benchmark.sandbox`."""
