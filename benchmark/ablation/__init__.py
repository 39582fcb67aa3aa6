"""The published solution step by step. Imported by the command line."""
