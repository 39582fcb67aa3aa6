"""Where photos are: the only room that opens photos by name. Imported by `images`, `dataset`, `execution` and `run`, and by whoever opens a folder of photos."""
