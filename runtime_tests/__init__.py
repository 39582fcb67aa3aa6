"""Mirrors the three packages, plus golden runs of the reference case."""
