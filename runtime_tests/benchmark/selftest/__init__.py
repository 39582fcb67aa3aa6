"""Tests of `benchmark.selftest`."""
