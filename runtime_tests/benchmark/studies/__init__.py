"""Tests of `benchmark.studies`."""
