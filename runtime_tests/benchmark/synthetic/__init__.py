"""Tests of `benchmark.synthetic`."""
