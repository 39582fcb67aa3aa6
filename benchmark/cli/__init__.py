"""The command `hakuna`: every command of the three packages. Imported by `hakuna.py` alone."""
