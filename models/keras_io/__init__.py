"""Keras files in, frozen graphs out, without running what a file brings along. Imported by `training` and `bundling`."""
