"""Makes predictions: photos and a model bundle go in, `submission.csv` comes out."""

import os

# TensorFlow reads this when it is imported; its build notes are no news to a user. Errors stay visible.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# So does NumPy's BLAS: photos are resized by many threads at once, each of which uses one core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
