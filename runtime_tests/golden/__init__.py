"""Whole runs against what the published program made, and against an independent implementation."""
