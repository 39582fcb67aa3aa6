"""The command `hakuna`."""

from __future__ import annotations

from benchmark.cli.app import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
