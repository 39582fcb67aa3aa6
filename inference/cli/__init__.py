"""One module a command: options in, `inference.api` called, results printed. Options and sessions are shared with `models.cli` and `benchmark.cli`.

May be imported by `models`, `benchmark`.
"""
