"""The networks' outputs for a sequence, and its checksummed line on disk. Imported by `execution`, `ensemble`, `outputs` and `run`."""
