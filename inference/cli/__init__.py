"""One module a command: options in, `inference.api` called, results printed. Only `benchmark.cli` imports this room."""
