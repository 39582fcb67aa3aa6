"""Figures as plots, tables and one page. Imported by studies and the command line."""
