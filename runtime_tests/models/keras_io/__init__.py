"""Tests of `models.keras_io`."""
