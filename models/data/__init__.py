"""What networks and stackers learn from: season labels, cached frames, batches.

May be imported by `cli`, `training`, `stacking`, `bundling`, `benchmark`.
"""
