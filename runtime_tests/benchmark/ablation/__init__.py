"""Tests of `benchmark.ablation`."""
