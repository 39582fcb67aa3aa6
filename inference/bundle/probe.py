"""Load probes: a bundle's networks and boosters are first loaded in a child process. If a library crashes, hangs or
takes all memory while loading one, the bundle is rejected. (The probe of `networks.probe`, fixed noise, is unrelated.)

`start_probe` returns at once and `wait` blocks, so that the probe runs beside other work. A bundle that has passed is
remembered by its hash, in this process and below the user's cache folder.
"""

import atexit
import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from inference.bundle.reader import Bundle
from inference.core.errors import BundleError, HakunaError
from inference.process.children import ending, module_command, module_environment, refuse_killed
from inference.settings.cache import read_cached, write_cached

READ_BYTES = 1 << 16
ERROR_BYTES = 2000
"""Bytes read from the end of the child's error output."""
POLL_SECONDS = 0.2
"""Interval at which a waiting run checks whether it has to stop."""
PASSED = "passed"
"""Kind of the cached results: one for every bundle and trial that passed."""


@dataclass(frozen=True)
class Trial:
    """The task of a child process.

    Attributes
    ----------
    parts : kind of the parts that it loads one after the other
    child_module : its program, which runs `probe_child.run`
    wanted : requirement for a part, for messages
    library : library with its version; another version may behave differently
    seconds_each : longest time for one part
    arguments : arguments of the program
    """

    parts: str
    child_module: str
    wanted: str
    library: str
    seconds_each: float
    arguments: tuple[str, ...] = ()

    def key(self, bundle: Bundle) -> tuple[object, ...]:
        """Everything that the outcome depends on."""
        return bundle.id, self.parts, self.library, self.arguments


class Probe:
    """A child process that loads some parts of a bundle and calls each once."""

    def __init__(self, bundle: Bundle, trial: Trial) -> None:
        """Start the child; `wait` is optional."""
        self._folder = bundle.folder
        self._trial = trial
        self._key = trial.key(bundle)
        self._lock = threading.Lock()
        self._over = False
        self._current: str | None = None
        self.failure: HakunaError | None = HakunaError(
            f"{bundle.folder}: probe of the {trial.parts} stopped before its end"
        )
        """Why the bundle cannot be used; None once every part has answered."""
        self._errors = open(os.memfd_create("probe"), "w+b")  # noqa: SIM115  # closed with the child
        # In a separate session: Ctrl-C in a terminal must not reach it. It watches its standard input, which closes
        # when this process ends for any reason. It imports modules only from where this process does.
        self._child = subprocess.Popen(  # noqa: S603  # this interpreter
            module_command(trial.child_module, bundle.folder, bundle.id, *trial.arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env=module_environment(),
        )

    @property
    def has_failed(self) -> bool:
        """Whether it ended without finding all parts usable."""
        return self._over and self.failure is not None

    def wait(self, check: Callable[[], None] = lambda: None) -> None:
        """Return when every part has answered; at once if the outcome is known.

        `check` is called several times a second and raises to stop waiting.

        Raises
        ------
        BundleError
            A part is damaged, or the child died or hung while loading it; the message names the file.
        OutOfMemoryError
            The kernel killed the child.
        """
        with self._lock:
            if not self._over:
                try:
                    self.failure = self._outcome(check)
                finally:
                    self.stop()
                if self.failure is None:
                    write_cached({}, PASSED, *self._key)
        if self.failure:
            raise self.failure

    def stop(self) -> None:
        """End the child in any state."""
        self._over = True
        with self._child:  # closes its pipes
            self._child.kill()
        self._errors.close()

    def _outcome(self, check: Callable[[], None]) -> HakunaError | None:
        """Follow the child's lines until it is done, reports an error, dies or takes too long."""
        stdout: IO[bytes] = self._child.stdout  # type: ignore[assignment]  # it is a pipe
        deadline = time.monotonic() + self._trial.seconds_each
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                check()
                if not selector.select(POLL_SECONDS):
                    continue
                chunk = os.read(stdout.fileno(), READ_BYTES)
                if not chunk:
                    code = self._child.wait()
                    refuse_killed(self._current or str(self._folder), code)
                    return self._broken(f"the process that loaded it {ending(code)}")
                *lines, unread = (unread + chunk).split(b"\n")
                for message in map(json.loads, lines):
                    if "part" not in message:
                        return BundleError(message["error"]) if message["error"] else None
                    self._current = message["part"]
                    deadline = time.monotonic() + self._trial.seconds_each
        return self._broken(f"got no answer within {self._trial.seconds_each:g} s")

    def _broken(self, what: str) -> HakunaError:
        """The error for a child that did not finish."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - ERROR_BYTES))
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        detail = f"{what}{f', the end of its error output: {last}' if last else ''}"
        if self._current is None:
            return HakunaError(
                f"{self._folder}: the {self._trial.parts} must be loaded in a child process, but {detail}"
            )
        return BundleError(f"{self._current}: must be {self._trial.wanted}, but {detail}")


_probes: dict[tuple[Path, str, Trial], Probe] = {}
"""Probes of this process. A bundle's identity covers the bytes of every file."""


def start_probe(bundle: Bundle, trial: Trial) -> Probe | None:
    """Start loading parts of a bundle in a child process unless already started; None if they are known to pass."""
    key = bundle.folder, bundle.id, trial
    if key in _probes and not _probes[key].has_failed:
        return _probes[key]
    if read_cached(PASSED, *trial.key(bundle)) is not None:
        return None
    _probes[key] = Probe(bundle, trial)
    atexit.register(_probes[key].stop)
    return _probes[key]
