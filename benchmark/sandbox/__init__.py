"""Runs a foreign program where it can do no harm, and ends everything it started. Imported by `rehearsal`."""
