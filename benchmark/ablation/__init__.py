"""The published solution step by step.

May be imported by `cli`.
"""
