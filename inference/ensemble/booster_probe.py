"""The first load of boosters happens in a child process: if LightGBM dies of one or never comes back, the run refuses it.

`start_probe` returns at once and `wait` at its end, so that it runs while the networks are loaded.
"""

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from inference.bundle.reader import Bundle
from inference.core.errors import BundleError, HakunaError

SECONDS_A_BOOSTER = 60.0
"""Longest time for one booster. A booster of 3000 trees takes it about a second."""
CHILD_MODULE = "inference.ensemble.booster_probe_child"
PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])
READ_BYTES = 1 << 16
ERROR_BYTES = 2000
"""How much of the end of the child's error output is looked at."""


class BoosterProbe:
    """A child process that loads the boosters of a bundle and calls each once."""

    def __init__(self, bundle: Bundle, seconds_a_booster: float = SECONDS_A_BOOSTER) -> None:
        """Start the child; `wait` is optional."""
        self._folder = bundle.folder
        self._seconds = seconds_a_booster
        self._lock = threading.Lock()
        self._over = False
        self._current: str | None = None
        self.failure: HakunaError | None = HakunaError(f"{bundle.folder}: probe of the boosters stopped before its end")
        """Why the boosters cannot be used; None once each has given probabilities."""
        self._errors = open(os.memfd_create("booster_probe"), "w+b")  # noqa: SIM115  # closed with the child
        # Its own session: Ctrl-C in a terminal is not meant for it. It watches its standard input, which ends when this
        # process ends, however that happens. It runs the modules that this process runs, from nowhere else.
        search_path = os.pathsep.join(filter(None, [PACKAGE_FOLDER, os.environ.get("PYTHONPATH")]))
        self._child = subprocess.Popen(  # noqa: S603  # this very interpreter
            [sys.executable, "-P", "-m", CHILD_MODULE, str(bundle.folder), bundle.id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": search_path},
        )

    @property
    def has_failed(self) -> bool:
        """Whether it is over, without all boosters being usable."""
        return self._over and self.failure is not None

    def wait(self) -> None:
        """Return when every booster has given probabilities; at once if that is known already.

        Raises
        ------
        BundleError
            A booster is damaged, or the child died or hung while loading it; the message names the file.
        """
        with self._lock:
            if not self._over:
                try:
                    self.failure = self._outcome()
                finally:
                    self.stop()
        if self.failure:
            raise self.failure

    def stop(self) -> None:
        """End the child, whatever it is doing."""
        self._over = True
        with self._child:  # closes its pipes
            self._child.kill()
        self._errors.close()

    def _outcome(self) -> HakunaError | None:
        """Follow the child's lines until it is done, reports an error, dies or takes too long."""
        stdout: IO[bytes] = self._child.stdout  # type: ignore[assignment]  # it is a pipe
        deadline = time.monotonic() + self._seconds
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                chunk = os.read(stdout.fileno(), READ_BYTES)
                if not chunk:
                    code = self._child.wait()
                    ending = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                    return self._broken(f"the process that loaded it {ending}")
                *lines, unread = (unread + chunk).split(b"\n")
                for message in map(json.loads, lines):
                    if "booster" not in message:
                        return BundleError(message["error"]) if message["error"] else None
                    self._current = message["booster"]
                    deadline = time.monotonic() + self._seconds
        return self._broken(f"got no answer within {self._seconds:g} s")

    def _broken(self, what: str) -> HakunaError:
        """What it means that the child did not come to its end."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - ERROR_BYTES))
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        detail = f"{what}{f', the end of its error output: {last}' if last else ''}"
        if self._current is None:
            return HakunaError(f"{self._folder}: the boosters must be loaded in a child process, but {detail}")
        return BundleError(f"{self._current}: must be a LightGBM model that loads and predicts, but {detail}")


_probes: dict[tuple[Path, str], BoosterProbe] = {}
"""Of this process, one a bundle. The identity covers the bytes of every booster."""


def start_probe(bundle: Bundle) -> BoosterProbe | None:
    """Start to load a bundle's boosters in a child process, unless this process has done so; None if there are none."""
    if bundle.manifest.ensemble.stacking is None:
        return None
    key = bundle.folder, bundle.id
    if key not in _probes or _probes[key].has_failed:
        _probes[key] = BoosterProbe(bundle)
        atexit.register(_probes[key].stop)
    return _probes[key]


def probe_boosters(bundle: Bundle) -> None:
    """Load a bundle's boosters in a child process and wait for it. Raises as `BoosterProbe.wait` does."""
    if probe := start_probe(bundle):
        probe.wait()
