"""The process of a run: lock, signals, heartbeat, watchdog, progress, read timeout, child processes.

May be imported by `cli`, `api`, `export`, `run`, `outputs`, `ensemble`, `execution`, `records`, `dataset`,
`preprocessing`, `networks`, `precision`, `bundle`, `images`, `storage`, `models`, `benchmark`.
"""
