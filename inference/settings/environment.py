"""Environment variables that libraries read at import. Main programs set them; an import never does."""

import os

from inference.core.choices import GPU_DRIVER


def set_library_defaults() -> None:
    """Set variables that the user has not set. Call it before the import of NumPy and TensorFlow."""
    for name, value in library_defaults(has_gpu=GPU_DRIVER.exists()).items():
        os.environ.setdefault(name, value)


def library_defaults(*, has_gpu: bool) -> dict[str, str]:
    """The variables, with or without an NVIDIA driver."""
    return {
        # TensorFlow's build notes do not matter to users; errors stay visible.
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Many threads resize photos at once, each on one core.
        "OPENBLAS_NUM_THREADS": "1",
        # With oneDNN, convolutions in float16 are not fused for GPUs on processors that have VNNI but no AVX-512 FP16.
        **({"TF_ENABLE_ONEDNN_OPTS": "0"} if has_gpu else {}),
    }
