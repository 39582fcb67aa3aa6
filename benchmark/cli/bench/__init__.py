"""The group of sub-commands `hakuna bench`. Imported by `benchmark.cli`."""
