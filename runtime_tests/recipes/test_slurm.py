"""The recipes for SLURM on a real controller with two nodes: the bytes of one run, whatever is killed."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmark.provenance import origin
from inference.bundle.reader import Bundle
from inference.core.files import write_json
from inference.settings.packages import is_installed
from runtime_tests.long_season import contents, long_tables, n_records
from runtime_tests.ray_cluster import STORE_BYTES, free_port, until
from runtime_tests.running import HAKUNA, environment, hakuna

RECIPES = HAKUNA.parent / "docs" / "recipes" / "slurm"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
SEARCH_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
MISSING = [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (Debian: slurm-wlm munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the controller starts jobs as their users"),
]
needs_ray = pytest.mark.skipif(not is_installed("ray"), reason="needs Ray (extra cluster)")

PYTHON = Path(sys.executable)
NODES = ("one", "two")
RAY_FOLDERS = Path("/tmp")  # noqa: S108  # where ray.sbatch has Ray's sockets
N_SEQUENCES = 600
"""Of a run that is still computing when something happens to it."""
JOB_SECONDS = 120.0
END_SECONDS = 30.0
AGAIN = (1, 5, 7, 10, 15, 130, 137, 143)
"""Exit codes after which a job is requeued."""
FINAL = (2, 3, 4, 6, 8, 9)
"""Exit codes that would come again."""
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=10
# Off, so that the recipes have to ask for it.
JobRequeue=0
SchedulerParameters=batch_sched_delay=0,sched_interval=1
# Nodes have the processors of this file, not those of the machine.
SlurmdParameters=config_overrides
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Controller:
    """A controller and two nodes on this machine, with all of their files in one folder."""

    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        return environment(SLURM_CONF=str(self.folder / "slurm.conf"), PATH=SEARCH_PATH)

    def begin(self) -> None:
        self.folder.chmod(0o711)  # munged refuses a folder that others cannot enter
        (self.folder / "state").mkdir()
        key = self.folder / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(64))
        ports = [free_port() for _ in range(3)]
        configuration = CONFIGURATION.format(host=socket.gethostname(), folder=self.folder, ports=ports)
        (self.folder / "slurm.conf").write_text(configuration)
        files = (f"--{name}-file={self.folder / name}" for name in ("key", "pid", "seed"))
        self.start("munged", "--foreground", f"--socket={self.folder / 'munge'}", *files)
        until((self.folder / "munge").exists)
        self.start("slurmctld", "-D")
        for node in NODES:
            self.start("slurmd", "-D", "-N", node)
        until(lambda: self.ask("sinfo", "--noheader", "--format=%D %t").strip() == "2 idle")

    def start(self, program: str, *options: str) -> None:
        path = shutil.which(program, path=SEARCH_PATH)
        assert path
        with (self.folder / f"log{len(self.daemons)}").open("wb") as log:
            self.daemons.append(
                subprocess.Popen(
                    [path, *options],
                    stdout=log,
                    stderr=log,
                    env=self.variables,
                    cwd=self.folder,
                    start_new_session=True,
                )
            )

    def ask(self, *words: object, folder: Path | None = None, **variables: str) -> str:
        """What one of SLURM's commands prints; nothing if it fails."""
        given = {**self.variables, **variables}
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            env=given,
            cwd=folder,
            timeout=60,
            check=False,
        )
        return done.stdout

    def jobs(self, number: str) -> list[dict[str, str]]:
        """The fields of a job, or of every task of an array."""
        lines = self.ask("scontrol", "show", "job", number, "--oneliner").splitlines()
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]

    def states(self, number: str) -> list[str]:
        return [one["JobState"] for one in self.jobs(number)]

    def wait(self, number: str, state: str = "COMPLETED") -> list[dict[str, str]]:
        """The fields of a job that ends in a state."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        until(lambda: set(self.states(number)) <= over, JOB_SECONDS)
        jobs = self.jobs(number)
        assert {one["JobState"] for one in jobs} == {state}, jobs
        return jobs

    def processes(self) -> list[int]:
        """All processes that know of this controller: its own, and those of jobs."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_ours = f"SLURM_CONF={self.folder}/".encode() in (process / "environ").read_bytes()
                if is_ours and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    found.append(int(process.name))
        return found

    def end(self) -> None:
        """End jobs, nodes, controller; then whatever is left."""
        self.ask("scancel", "--user=root")
        with suppress(AssertionError):
            until(lambda: not self.ask("squeue", "--noheader").strip(), END_SECONDS)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
        left = self.processes()
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for daemon in self.daemons:
            daemon.wait(10)
        assert not left, "processes were left"


@pytest.fixture(scope="module")
def controller() -> Iterator[Controller]:
    one = Controller(Path(tempfile.mkdtemp(prefix="hs")))  # the path of a socket has 107 bytes at most
    try:
        one.begin()
        yield one
    finally:
        try:
            one.end()
        finally:
            shutil.rmtree(one.folder, ignore_errors=True)


@dataclass(frozen=True)
class Submission:
    """Jobs about the same photos, submitted from one folder."""

    controller: Controller
    folder: Path
    variables: dict[str, str]
    predict_options: tuple[object, ...] = ()

    @property
    def out(self) -> Path:
        return Path(self.variables["OUT"])

    @property
    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("hakuna-*.log")))

    def submit(self, recipe: str, *options: object, **variables: str) -> str:
        """The number of the job."""
        given = self.predict_options if recipe != "merge" else ()
        words = ("sbatch", "--parsable", *options, RECIPES / f"{recipe}.sbatch", *given)
        number = self.controller.ask(*words, folder=self.folder, **{**self.variables, **variables}).strip()
        assert number.isdigit(), (words, number)
        return number

    def submit_array(self, n_tasks: int, *options: object) -> tuple[str, str]:
        """The numbers of an array and of its merge."""
        array = self.submit("array", f"--array=1-{n_tasks}", *options)
        return array, self.submit("merge", f"--dependency=afterok:{array}")

    def processes(self, out: Path) -> list[int]:
        """Those of `hakuna predict` into a folder."""
        found = []
        for process in self.controller.processes():
            with suppress(OSError):
                words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
                if words[0] == str(PYTHON).encode() and str(out).encode() in words:
                    found.append(process)
        return found


@pytest.fixture
def short(controller: Controller, season: Path, quick_bundle: Bundle, tmp_path: Path) -> Submission:
    variables = {
        "PHOTOS": str(season),
        "BUNDLE": str(quick_bundle.folder),
        "OUT": str(tmp_path / "out"),
        "HAKUNA": f"{PYTHON} {HAKUNA}",  # two words, as with Apptainer
        "RAY": str(PYTHON.parent / "ray"),
        "RAY_OPTIONS": f"--object-store-memory={STORE_BYTES} --num-gpus=0",
    }
    return Submission(controller, tmp_path, variables)


@pytest.fixture(scope="module")
def tables(season: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Options for the photos of a season many times over, under other names of sequences."""
    folder = tmp_path_factory.mktemp("long")
    return long_tables(season, N_SEQUENCES // 12, folder)


@pytest.fixture
def long(short: Submission, tables: tuple[object, ...]) -> Submission:
    """A run that is still computing when something happens to it."""
    return Submission(short.controller, short.folder, short.variables, tables)


def local(folder: Path, *words: object) -> dict[str, bytes]:
    """The files of one run without SLURM."""
    done = hakuna("predict", *words, "--out", folder)
    assert done.returncode == 0, done.stderr
    return contents(folder)


@pytest.fixture(scope="module")
def short_bytes(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return local(tmp_path_factory.mktemp("short"), season, "--bundle", quick_bundle.folder)


@pytest.fixture(scope="module")
def long_bytes(
    season: Path, tables: tuple[object, ...], quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return local(tmp_path_factory.mktemp("local"), season, *tables, "--bundle", quick_bundle.folder)


@pytest.fixture(scope="module", autouse=True)
def _outcomes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep outcomes and seconds in the file that RECIPES_JSON names."""
    path = os.environ.get("RECIPES_JSON")
    if not path:
        yield
        return
    tests: dict[str, dict[str, Any]] = {}

    class Recorder:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
                name = report.nodeid.rpartition("::")[2]
                tests[name] = {"outcome": report.outcome, "seconds": round(report.duration, 1)}

    recorder = Recorder()
    request.config.pluginmanager.register(recorder)
    yield
    request.config.pluginmanager.unregister(recorder)
    found = {**origin("make test-slurm"), "nodes": len(NODES), "slurm": slurm_version(), "ray": ray_version()}
    write_json({**found, "tests": tests}, Path(path))


def slurm_version() -> str:
    program = shutil.which("slurmctld", path=SEARCH_PATH) or ""
    done = subprocess.run([program, "-V"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def ray_version() -> str | None:
    from importlib.metadata import version

    return version("ray") if is_installed("ray") else None


def stand_in(folder: Path, name: str, lines: str) -> str:
    """A program that takes the place of `hakuna` or `ray`."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def nodes_of(jobs: list[dict[str, str]]) -> set[str]:
    return {one["NodeList"] for one in jobs}


def test_an_array_over_two_nodes_and_its_merge_give_the_bytes_of_one_run(
    short: Submission, short_bytes: dict[str, bytes]
) -> None:
    array, merge = short.submit_array(4)
    jobs = short.controller.wait(array)
    short.controller.wait(merge)
    assert contents(short.out / "merged") == short_bytes
    assert len(jobs) == 4
    assert nodes_of(jobs) == set(NODES)
    assert all(not (short.out / f"part{n}" / "submission.csv").exists() for n in range(1, 5))


@pytest.mark.parametrize("how", ["the process is killed", "the step gets SIGTERM"])
def test_an_interrupted_shard_is_requeued_and_resumes_before_the_merge(
    how: str, long: Submission, long_bytes: dict[str, bytes]
) -> None:
    array, merge = long.submit_array(3)
    part = long.out / "part2"
    until(lambda: n_records(part) > 0)
    if how == "the process is killed":
        for process in long.processes(part):
            os.kill(process, signal.SIGKILL)
    else:
        long.controller.ask("scancel", "--signal=TERM", f"{array}_2")
    jobs = long.controller.wait(array)
    assert {one["ArrayTaskId"]: one["Restarts"] for one in jobs} == {"1": "0", "2": "1", "3": "0"}, long.log
    assert long.controller.states(merge) != ["CANCELLED"]
    long.controller.wait(merge)
    assert json.loads((part / "run.json").read_text())["sequences_kept_from_earlier_run"] > 0
    assert contents(long.out / "merged") == long_bytes


@pytest.mark.parametrize("options", [(), ("--signal=KILL",)], ids=["SIGTERM", "SIGKILL"])
def test_a_cancelled_shard_is_not_requeued_and_the_same_commands_resume(
    options: tuple[str, ...], long: Submission, long_bytes: dict[str, bytes]
) -> None:
    array, merge = long.submit_array(2)
    until(lambda: n_records(long.out / "part1") > 0)
    long.controller.ask("scancel", *options, f"{array}_1")
    until(lambda: set(long.controller.states(array)) == {"CANCELLED", "COMPLETED"}, JOB_SECONDS)
    assert {one["Restarts"] for one in long.controller.jobs(array)} == {"0"}
    until(lambda: long.controller.jobs(merge)[0]["Reason"] == "DependencyNeverSatisfied")
    assert not (long.out / "merged").exists()
    again, merge_again = long.submit_array(2)
    long.controller.wait(again)
    long.controller.wait(merge_again)
    assert json.loads((long.out / "part1" / "run.json").read_text())["sequences_kept_from_earlier_run"] > 0
    assert contents(long.out / "merged") == long_bytes
    long.controller.ask("scancel", merge)


def test_a_wrong_bundle_is_not_requeued_and_nothing_is_merged(short: Submission) -> None:
    wrong = short.folder / "wrong"
    wrong.mkdir()
    array = short.submit("array", "--array=1-3", BUNDLE=str(wrong))
    merge = short.submit("merge", f"--dependency=afterok:{array}")
    jobs = short.controller.wait(array, "FAILED")
    assert {(one["ExitCode"], one["Restarts"]) for one in jobs} == {("4:0", "0")}, short.log
    until(lambda: short.controller.jobs(merge)[0]["Reason"] == "DependencyNeverSatisfied")
    assert short.controller.states(merge) == ["PENDING"]
    assert not (short.out / "merged").exists()
    short.controller.ask("scancel", merge)


@pytest.mark.parametrize("name", ["array", "ray"])
def test_only_exit_codes_that_are_worth_it_are_requeued(name: str, short: Submission) -> None:
    """Stand-ins for `hakuna` and `ray`: the first try ends with the code, the second with 0."""
    variables = {
        "HAKUNA": stand_in(short.folder, "program", '[ -n "$SLURM_RESTART_COUNT" ] || exit "$CODE"'),
        "RAY": stand_in(short.folder, "cluster", "echo \"--address='127.0.0.1:1'\"; exec sleep 100"),
    }
    options = ("--cpus-per-task=1", *(("--array=1-1",) if name == "array" else ()))
    numbers = {code: short.submit(name, *options, **variables, CODE=str(code)) for code in (*AGAIN, *FINAL)}
    for code, number in numbers.items():
        (job,) = short.controller.wait(number, "COMPLETED" if code in AGAIN else "FAILED")
        assert job["Restarts"] == str(int(code in AGAIN)), (code, short.log)
        assert job["ExitCode"] == ("0:0" if code in AGAIN else f"{code}:0")


def test_a_shard_that_never_succeeds_fails_in_the_end(short: Submission) -> None:
    program = stand_in(short.folder, "program", "exit 5")
    array = short.submit("array", "--array=1-1", HAKUNA=program, MAX_RESTARTS="1")
    (job,) = short.controller.wait(array, "FAILED")
    assert (job["Restarts"], job["ExitCode"]) == ("1", "5:0")


def test_an_array_with_gaps_is_refused(short: Submission) -> None:
    array = short.submit("array", "--array=1,3")
    jobs = short.controller.wait(array, "FAILED")
    assert {one["ExitCode"] for one in jobs} == {"2:0"}
    assert "must be a range without gaps" in short.log
    assert not short.out.exists()


def test_an_array_may_begin_at_zero(short: Submission, short_bytes: dict[str, bytes]) -> None:
    array = short.submit("array", "--array=0-1")
    short.controller.wait(array)
    short.controller.wait(short.submit("merge", f"--dependency=afterok:{array}"))
    assert contents(short.out / "merged") == short_bytes


@needs_ray
def test_jobs_are_stopped_before_their_time_limit_and_requeued(
    short: Submission, short_bytes: dict[str, bytes]
) -> None:
    """The first try of a stand-in waits for the signal, the second one is `hakuna`."""
    program = stand_in(
        short.folder, "program", f'[ -n "$SLURM_RESTART_COUNT" ] || exec sleep 200\nexec {PYTHON} {HAKUNA} "$@"'
    )
    two_minutes = ("--time=2", "--cpus-per-task=2")
    array = short.submit("array", "--array=1-1", *two_minutes, HAKUNA=program)
    ray = short.submit("ray", *two_minutes, HAKUNA=program, OUT=str(short.folder / "ray"))
    for number in (array, ray):
        until(lambda number=number: short.controller.jobs(number)[0]["Restarts"] == "1", 115)  # type: ignore[misc]
        short.controller.wait(number)
    short.controller.wait(short.submit("merge"))
    assert contents(short.out / "merged") == short_bytes
    assert contents(short.folder / "ray") == short_bytes


def folders_of_ray(submission: Submission) -> list[Path]:
    """The folder of a Ray cluster beside its log, and the one for its sockets."""
    beside = list(submission.folder.glob("hakuna-ray.*"))
    return [one for path in beside if path.is_dir() for one in (path, RAY_FOLDERS / path.name)]


def assert_nothing_is_left(submission: Submission, folders: list[Path], before: set[int]) -> None:
    until(lambda: set(submission.controller.processes()) <= before, END_SECONDS)
    assert [path for path in folders if path.exists()] == []
    assert folders_of_ray(submission) == []


@needs_ray
def test_a_ray_cluster_over_two_nodes_gives_the_bytes_of_one_run_and_leaves_nothing(
    long: Submission, long_bytes: dict[str, bytes]
) -> None:
    before = set(long.controller.processes())
    number = long.submit("ray", "--cpus-per-task=1")
    until(lambda: n_records(long.out) > 0)
    folders = folders_of_ray(long)
    assert len(folders) == 2
    assert (folders[0].stat().st_mode & 0o777, (folders[0] / "token").stat().st_mode & 0o777) == (0o700, 0o600)
    (job,) = long.controller.wait(number)
    assert (job["NodeList"], job["Restarts"]) == ("one,two", "0")
    assert contents(long.out) == long_bytes
    assert len(json.loads((long.out / "run.json").read_text())["cluster"]["sequences_by_node"]) == 2
    assert_nothing_is_left(long, folders, before)


@needs_ray
def test_a_killed_driver_of_a_ray_cluster_is_requeued_and_resumes(
    long: Submission, long_bytes: dict[str, bytes]
) -> None:
    number = long.submit("ray", "--cpus-per-task=1")
    until(lambda: n_records(long.out) > 0)
    for process in long.processes(long.out):
        os.kill(process, signal.SIGKILL)
    (job,) = long.controller.wait(number)
    assert job["Restarts"] == "1"
    assert contents(long.out) == long_bytes
    assert json.loads((long.out / "run.json").read_text())["sequences_kept_from_earlier_run"] > 0


@needs_ray
def test_a_cancelled_ray_cluster_is_not_requeued_and_leaves_nothing(long: Submission) -> None:
    before = set(long.controller.processes())
    number = long.submit("ray", "--cpus-per-task=1")
    until(lambda: n_records(long.out) > 0)
    folders = folders_of_ray(long)
    long.controller.ask("scancel", number)
    (job,) = long.controller.wait(number, "CANCELLED")
    assert job["Restarts"] == "0"
    assert_nothing_is_left(long, folders, before)
