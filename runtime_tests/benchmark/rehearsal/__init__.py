"""Tests of `benchmark.rehearsal`."""
