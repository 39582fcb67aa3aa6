"""Trains the stackers of one set of records. Imported by the command line and by studies."""
