"""A Python interpreter for participants' programs: all packages of this one, but not our own; its facts for reports."""

import os
import platform
import site
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from inference.core.files import output_errors

OUR_MODULES = frozenset({"hakuna", "inference", "models", "benchmark"})
OUR_DISTRIBUTION = "hakuna_runtime"
NOT_LINKED = frozenset({"__pycache__"})
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of a container: bytes, or `max`."""


def python_without_ours(folder: Path) -> Path:
    """Path of this interpreter if our packages are not among its own, else one in the new `folder` that has all the others.

    In the container our sources are beside the virtual environment, and a participant's program gets that environment.
    Elsewhere they are installed in it: then the other packages are linked into a new one.
    """
    folders = [Path(name) for name in site.getsitepackages() if os.path.isdir(name)]
    entries = {entry.name: entry for one in reversed(folders) for entry in one.iterdir()}
    if not any(map(_is_ours, entries)):
        return Path(sys.executable)
    python = folder / "bin" / "python"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with output_errors(folder):
        for one in (python.parent, packages):
            one.mkdir(parents=True)
        python.symlink_to(os.path.realpath(sys.executable))
        settings = f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = false\n"
        (folder / "pyvenv.cfg").write_text(settings, encoding="utf-8")
        for name, entry in entries.items():
            if name not in NOT_LINKED and not _is_ours(name):
                (packages / name).symlink_to(entry)
    return python


def surroundings() -> dict[str, Any]:
    """Python, packages with their versions, cores and bytes of memory that a program has here, in the words of `rehearsal.json`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = MEMORY_LIMIT.read_text(encoding="ascii").strip() if MEMORY_LIMIT.exists() else ""
    whole = [one for one in distributions(path=site.getsitepackages()) if "Name" in one.metadata]
    found = {one.name.replace("_", "-").lower(): one.version for one in whole}
    packages = {name: found[name] for name in sorted(found) if not _is_ours(name.replace("-", "_"))}
    return {
        "python": platform.python_version(),
        "packages": packages,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": min(memory, int(limit)) if limit.isdecimal() else memory,
    }


def _is_ours(name: str) -> bool:
    """Whether an entry of a folder of packages is one of ours, or leads to them."""
    return name.partition(".")[0] in OUR_MODULES or name.removeprefix("__editable__.").removeprefix(
        "__editable___"
    ).startswith(OUR_DISTRIBUTION)
