"""One error class per cause, each with its exit code; counts in messages."""

SIGNAL_EXIT_BASE = 128
"""Exit code of a program ended by a signal, minus the signal number."""


class HakunaError(Exception):
    """An outcome to report to the user; scripts see `exit_code`. A `hint` is a next step, on a separate line.

    >>> try:
    ...     hakuna.score("nowhere.csv", "season/test_labels.csv")
    ... except hakuna.HakunaError as error:
    ...     error.exit_code
    3
    """

    exit_code = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __init_subclass__(cls, *, exit_code: int | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code


class UsageError(HakunaError, exit_code=2):
    """Command line or settings."""


class InputError(HakunaError, exit_code=3):
    """Metadata, submission format, labels."""


class BundleError(HakunaError, exit_code=4):
    """Model bundle: missing, damaged, wrong signature."""


class OutputError(HakunaError, exit_code=5):
    """Disk full or not writable."""


class DegradedError(HakunaError, exit_code=6):
    """The time budget was too short for any sequence, or for full effort where that was required."""


class LockedError(HakunaError, exit_code=7):
    """The output folder is in use by another run."""


class CheckpointError(HakunaError, exit_code=8):
    """The output folder belongs to another run."""


class TooManyFailuresError(HakunaError, exit_code=9):
    """More photos could not be used than `--max-failures` allows."""


class UnusableGpuError(HakunaError, exit_code=10):
    """A GPU was asked for and cannot be used."""


class DoesNotFitError(HakunaError, exit_code=11):
    """A limit of time or of the log loss is exceeded."""


class InvalidEntryError(HakunaError, exit_code=12):
    """A participant's archive or its submission is invalid."""


class PastLimitError(HakunaError, exit_code=13):
    """A participant's program ran past the time limit."""


class ProgramFailedError(HakunaError, exit_code=14):
    """A participant's program failed."""


class WorkersLostError(HakunaError, exit_code=15):
    """No worker of a cluster is left that can compute the run."""


class DivergedError(HakunaError, exit_code=16):
    """A training diverged: its loss or a weight is no longer finite."""


class InterruptedRunError(HakunaError):
    """A signal stopped the run; its progress is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = SIGNAL_EXIT_BASE + signal_number


class OutOfMemoryError(HakunaError):
    """Memory ran out, for example with too many images at once."""


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 photo`, `2,000 photos`, `2 classes`."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"
