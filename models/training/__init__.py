"""Trains one network, interrupted and continued as often as needed. Imported by the command line and by studies."""
