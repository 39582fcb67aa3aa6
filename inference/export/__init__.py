"""A finished run in formats of other programs. Imported by the API and the command line."""
