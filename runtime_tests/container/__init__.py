"""Tests of the image: a real engine builds it and runs it."""
