"""Tests of `inference.execution.cluster`."""
