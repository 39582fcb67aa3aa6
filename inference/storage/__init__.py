"""Where photos are: the only room that opens photos by name. Imported by `images`, `dataset` and `run`."""
