"""The command `hakuna`: every command of the three packages.

May be imported by `hakuna.py`.
"""
