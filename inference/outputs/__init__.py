"""The files of a run, written and read back. Imported by `run`, `export` and everything above."""
