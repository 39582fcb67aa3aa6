"""`hakuna bundle`, `train`, `stack` and `pack`: options in, tables out. Only `benchmark.cli` imports this room."""
