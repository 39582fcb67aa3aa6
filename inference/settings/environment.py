"""What libraries read from the environment when they are imported. Set by main programs, never by an import."""

import os


def set_library_defaults() -> None:
    """Set what the user has not set, before NumPy and TensorFlow are imported."""
    # TensorFlow's build notes are no news to a user; errors stay visible.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Photos are resized by many threads at once, each of which uses one core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
