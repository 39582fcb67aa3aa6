"""What networks and stackers learn from: season labels, cached frames, batches. Imported by `training` and `stacking`."""
