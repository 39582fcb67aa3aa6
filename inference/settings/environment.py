"""What libraries read from the environment when they are imported. Set by main programs, never by an import."""

import os

DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow's build notes are no news to a user; errors stay visible
    "OPENBLAS_NUM_THREADS": "1",  # photos are resized by many threads at once, each of which uses one core
}


def set_library_defaults() -> None:
    """Set what the user has not set, before NumPy and TensorFlow are imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
