"""One error a cause, each with its exit code."""

SIGNAL_EXIT_BASE = 128
"""Exit code of a program that a signal ended, less the signal's number."""


class HakunaError(Exception):
    """An outcome that a person has to know about; programs see `exit_code`."""

    exit_code = 1


class UsageError(HakunaError):
    """Command line or settings."""

    exit_code = 2


class InputError(HakunaError):
    """Metadata, submission format, labels."""

    exit_code = 3


class BundleError(HakunaError):
    """Model bundle: missing, damaged, wrong signature."""

    exit_code = 4


class OutputError(HakunaError):
    """Disk full or not writable."""

    exit_code = 5


class DegradedError(HakunaError):
    """Complete, but degraded by the time budget, and that was not allowed."""

    exit_code = 6


class LockedError(HakunaError):
    """The output folder is in use by another run."""

    exit_code = 7


class CheckpointError(HakunaError):
    """The output folder belongs to another run."""

    exit_code = 8


class TooManyFailuresError(HakunaError):
    """More photos could not be used than allowed."""

    exit_code = 9


class UnusableGpuError(HakunaError):
    """A GPU was asked for and cannot be used."""

    exit_code = 10


class DoesNotFitError(HakunaError):
    """The work does not fit the time budget."""

    exit_code = 11


class InvalidEntryError(HakunaError):
    """An entrant's archive or its submission is invalid."""

    exit_code = 12


class PastLimitError(HakunaError):
    """An entrant's program ran past the time limit."""

    exit_code = 13


class ProgramFailedError(HakunaError):
    """An entrant's program failed."""

    exit_code = 14


class InterruptedRunError(HakunaError):
    """A signal stopped the run; what was done is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = SIGNAL_EXIT_BASE + signal_number


class OutOfMemoryError(HakunaError):
    """An engine could not take so many images at once."""
