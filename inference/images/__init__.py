"""Bytes of one photo -> one frame: limits, EXIF, decoders, resampling.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `models`, `benchmark`.
"""
