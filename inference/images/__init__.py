"""Bytes of one photo -> one frame: limits, EXIF, decoders, resampling. Imported by `dataset`, `preprocessing` and `execution`."""
