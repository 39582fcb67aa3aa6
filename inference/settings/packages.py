"""Packages installed by an extra of the project, and the message if one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from inference.core.errors import UsageError

EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "h5py": "train",
    "openvino": "cpu",
    "matplotlib": "plots",
    "nncf": "quantize",
    "ray": "cluster",
}
"""Extra by the module that it installs. `gpu` also installs TensorFlow."""


def is_installed(module: str) -> bool:
    """Whether a module can be imported; nothing is imported."""
    return find_spec(module) is not None


def require(module: str) -> None:
    """Raise UsageError with the extra to install if a module of `EXTRAS` is missing."""
    if not is_installed(module):
        raise _missing(module)


@contextmanager
def missing_packages() -> Iterator[None]:
    """Turn the failed import of a module of `EXTRAS` into the UsageError of `require`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise _missing(error.name) from error


def how_to_install(extra: str) -> str:
    """The next step where packages of an extra are missing. The project is in no package index."""
    return f"run `make install` in a clone, or install the set {extra!r} as docs/how-to/install.md shows"


def _missing(module: str) -> UsageError:
    return UsageError(
        f"{module}: must be installed, got none",
        hint=how_to_install(EXTRAS[module]),
    )
