"""Tests of `benchmark.scoring`."""
