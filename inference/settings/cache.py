"""Small results below the user's cache folder that save later processes the same work.

Each is found by everything that it depends on. A damaged one counts as absent, and so does every one where nothing can
be written.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from inference.core.errors import OutputError
from inference.core.files import read_json, write_json
from inference.core.version import hakuna_version

CACHE_VARIABLE, DEFAULT_FOLDER = "XDG_CACHE_HOME", "~/.cache"


def read_cached(kind: str, *key: object) -> dict[str, Any] | None:
    """The result of a kind that was kept under a key; None without one that can be read."""
    path = _path(kind, key)
    if path is None or not os.path.isfile(path):  # False for a folder of another user
        return None
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_cached(content: dict[str, Any], kind: str, *key: object) -> None:
    """Keep a result for later processes; without a folder that can be written, they compute it again."""
    if path := _path(kind, key):
        with suppress(OSError, OutputError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(content, path)


def _path(kind: str, key: tuple[object, ...]) -> Path | None:
    """The file of a key; None for a user without a cache folder."""
    # The XDG specification ignores paths that are not absolute.
    folders = map(os.path.expanduser, (os.environ.get(CACHE_VARIABLE, ""), DEFAULT_FOLDER))
    folder = next(filter(os.path.isabs, folders), None)
    digest = hashlib.sha256(json.dumps([kind, *map(str, key), hakuna_version()]).encode()).hexdigest()
    return Path(folder, "hakuna", kind, digest) if folder else None
