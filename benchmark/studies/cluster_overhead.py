"""Measures the cost of a cluster: the same run in one process, with one worker, and with two workers of one core each.

It uses the networks of a bundle on a few photos shared by all sequences. Nodes are in a control group that counts their
processor time, which needs root. A run of a few sequences gives the part that does not grow: Ray's start-up.
"""

import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from benchmark.provenance import origin
from benchmark.studies.scaling import N_BURSTS, N_CAMERAS, PHOTO_SIZE, SEED, write_metadata
from benchmark.synthetic.season import write_season
from benchmark.timing.harness import run_predict
from inference.core.errors import UsageError
from inference.core.files import read_json

log = structlog.get_logger()

FEW, CALIBRATION = 24, 600
"""Sequences of the runs for the part that does not grow, and for choosing the length of the others."""
MIN_SECONDS = 300.0
"""Shortest time of a run in one process."""
REPEATS = 1
"""Runs of each kind, in alternation; the median counts. One takes 17 minutes."""
STORE_BYTES = 80_000_000
"""Shared memory of a node."""
ACCOUNTING = (("/sys/fs/cgroup/cpuacct", "cpuacct.usage", 1e-9), ("/sys/fs/cgroup", "cpu.stat", 1e-6))
"""Where control groups count processor time, in version 1 and 2: folder, file, seconds in a unit."""
READY = b"This command will now block"
"""Of `ray start`."""
LOCAL, ONE, TWO = "one process", "one worker", "two workers of one core"


@dataclass(frozen=True)
class Run:
    """A run: seconds of the whole and of its records, processor time of all processes and of the driver alone."""

    seconds: float
    records_seconds: float
    cpu_seconds: float
    driver_cpu_seconds: float


@dataclass
class Nodes:
    """Nodes of a Ray cluster on this machine, and the control group that counts their processor time."""

    folder: Path
    group: Path
    usage: Path
    unit: float
    port: int

    def cpu_seconds(self) -> float:
        """Processor time of all nodes so far."""
        text = self.usage.read_text()
        return float(text.split()[1] if text.startswith("usage") else text) * self.unit

    def start(self, number: int, cores: str) -> subprocess.Popen[bytes]:
        """Start a node with these cores, such as `0` or `0,1`; the first one is the head."""
        kind = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        given = kind if number == 0 else [f"--address=127.0.0.1:{self.port}"]
        options = [f"--num-cpus={len(cores.split(','))}", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}"]
        ray = Path(sys.executable).parent / "ray"
        command = [ray, "start", *given, *options, "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
        enter = f'echo $$ > {self.group}/cgroup.procs && exec taskset --cpu-list {cores} "$@"'
        path = self.folder / f"node{number}.log"
        with path.open("wb") as file:
            words = ["/bin/sh", "-c", enter, "sh", *map(str, command)]
            node = subprocess.Popen(words, stdout=file, stderr=file, start_new_session=True)  # noqa: S603
        while READY not in path.read_bytes():
            if node.poll() is not None:
                raise UsageError(f"ray start: must start a node, got: {path.read_text()[-500:]}")
            time.sleep(0.1)
        return node


def measure_cluster(
    folder: Path, bundle: Path, command: str, min_seconds: float = MIN_SECONDS, repeats: int = REPEATS
) -> dict[str, Any]:
    """Runs of all kinds in alternation; returns figures ready for JSON. Raises UsageError without control groups."""
    data = folder / "data"
    write_season(data, n_sequences=N_BURSTS, n_cameras=N_CAMERAS, size=PHOTO_SIZE, seed=SEED)
    calibration = _run(folder, bundle, CALIBRATION, None)
    n_sequences = round(CALIBRATION * 1.05 * min_seconds / calibration.records_seconds)
    found: dict[str, dict[str, list[Run]]] = {kind: {"few": [], "all": []} for kind in (LOCAL, ONE, TWO)}
    for _ in range(repeats):
        for kind, cores in ((LOCAL, ()), (ONE, ("0,1",)), (TWO, ("0", "1"))):
            with _cluster(cores) as nodes:
                for name, count in (("few", FEW), ("all", n_sequences)):
                    found[kind][name].append(run := _run(folder, bundle, count, nodes))
                    log.info("measured a run", kind=kind, sequences=count, **asdict(run))
    medians = {kind: {name: _median(runs) for name, runs in both.items()} for kind, both in found.items()}
    return {
        "sequences": n_sequences,
        "repeats": repeats,
        "runs": {
            kind: {name: [asdict(run) for run in runs] for name, runs in both.items()} for kind, both in found.items()
        },
        **comparison(medians, n_sequences),
        **origin(command),
    }


def comparison(medians: dict[str, dict[str, Run]], n_sequences: int) -> dict[str, Any]:
    """Ratios of the clusters to the run in one process, without the part that does not grow, which is reported apart."""
    grown = {kind: both["all"].cpu_seconds - both["few"].cpu_seconds for kind, both in medians.items()}
    driver = [medians[ONE][name].driver_cpu_seconds for name in ("few", "all")]
    return {
        "cpu_of_one_worker": round(grown[ONE] / grown[LOCAL], 3),
        "records_seconds_of_two_workers": round(
            medians[TWO]["all"].records_seconds / medians[LOCAL]["all"].records_seconds, 3
        ),
        "whole_seconds_of_two_workers": round(medians[TWO]["all"].seconds / medians[LOCAL]["all"].seconds, 3),
        "start_up_seconds": {
            kind: round(both["few"].seconds - both["few"].records_seconds, 1) for kind, both in medians.items()
        },
        "start_up_cpu_seconds": {kind: round(both["few"].cpu_seconds, 1) for kind, both in medians.items()},
        "driver_cpu_seconds_per_1000_sequences": round(1000 * (driver[1] - driver[0]) / (n_sequences - FEW), 2),
    }


@contextmanager
def _cluster(cores: tuple[str, ...]) -> Iterator[Nodes | None]:
    """Nodes with these cores, and a token; None without any."""
    if not cores:
        yield None
        return
    controller = next((one for one in ACCOUNTING if os.access(one[0], os.W_OK)), None)
    if controller is None:
        raise UsageError("study cluster: must be able to make a control group, for its processor time; run it as root")
    parent, usage, unit = controller
    group = Path(parent) / f"hakuna{os.getpid()}"
    group.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="hr", ignore_cleanup_errors=True) as temporary:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        nodes = Nodes(Path(temporary), group, group / usage, unit, port)
        started = []
        try:
            for number, one in enumerate(cores):
                started.append(nodes.start(number, one))
            yield nodes
        finally:
            while processes := (group / "cgroup.procs").read_text().split():
                for process in processes:
                    os.kill(int(process), signal.SIGKILL)
                for node in started:
                    node.wait()
            group.rmdir()


def _run(folder: Path, bundle: Path, n_sequences: int, nodes: Nodes | None) -> Run:
    data, out = folder / "data", folder / "out"
    metadata = write_metadata(data, n_sequences)
    options = ["--restart", "--metadata", metadata, "--format", "none"]
    options += ["--cluster", f"ray:127.0.0.1:{nodes.port}"] if nodes else []
    before = nodes.cpu_seconds() if nodes else 0.0
    driver = run_predict(data, bundle, out, *options)
    workers = nodes.cpu_seconds() - before if nodes else 0.0
    records = read_json(out / "run.json")["seconds"]["photos to records"]
    return Run(*(round(one, 3) for one in (driver.seconds, records, driver.cpu_seconds + workers, driver.cpu_seconds)))


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*(asdict(run).values() for run in runs), strict=True)))
