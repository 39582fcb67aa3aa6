"""The contract's container, by the machine's Docker engine, with every protection it has."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmark.rehearsal.entry import REPORT_NAME, Entry, EntryReport, Verdict, report_on
from benchmark.rehearsal.submission_check import accept_submission
from benchmark.sandbox.contract import ARCHIVE_NAME, KILLED, LOG_NAME, SUBMISSION_FOLDER, Rule
from benchmark.sandbox.run_log import RunLog
from benchmark.sandbox.sandbox import scratch_folder
from benchmark.sandbox.supervise import Signals, supervise
from inference.core.choices import GPU_DRIVER
from inference.core.errors import HakunaError, InvalidEntryError, ProgramFailedError
from inference.core.files import output_errors
from inference.dataset.metadata import FORMAT_NAME, read_submission_format
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.lock import locked
from models.bundling.packed_main import BUDGET_VARIABLE

PROBE_SECONDS = 30.0
START_SECONDS = 60.0
"""For the engine to start and end a container; the container itself keeps the budget."""
STOP_SECONDS = 20.0
MEMORY_SHARE = 0.9
"""Of the machine's memory, the most that a container may have."""
MAX_PROCESSES = 4096
TEMPORARY_FILES = "/tmp:size=1g,mode=1777"  # noqa: S108  # the container's own
CONTRACT_USER = "1000:1000"


def why_no_docker(image: str) -> str | None:
    """Why an image cannot be used, None if it can."""
    if shutil.which("docker") is None:
        return "no docker command on the path"
    if not _docker("info"):
        return "no engine answers `docker info`"
    return None if _docker("image", "inspect", image) else f"the engine has no image {image}"


def run_in_docker(
    entry: Entry, image: str, *, scratch: Path | None, hidden: tuple[Path, ...], signals: Signals, console: int
) -> EntryReport:
    """Let the image's own entrypoint run the entry, and look at what it leaves once more."""
    submission_format = read_submission_format(entry.data / FORMAT_NAME)
    container = f"hakuna-rehearsal-{secrets.token_hex(4)}"
    with locked(entry.out), RunLog(entry.out / LOG_NAME, console, fresh=True) as log:
        log.say(f"runner: docker, image {image}")
        try:
            with _staged(entry, scratch) as staged:
                try:
                    result = supervise(
                        docker_command(entry, image, container, staged, hidden),
                        folder=staged,
                        environment=os.environ,
                        log=log,
                        signals=signals,
                        limit=entry.budget + START_SECONDS,
                        grace=STOP_SECONDS,
                    )
                finally:  # whatever happened, the container is gone afterwards
                    _docker("rm", "--force", container)
                signals.check()
                left = staged / SUBMISSION_FOLDER
                report = _read_report(left / REPORT_NAME, result.code)
                if report.verdict is Verdict.VALID:
                    accept_submission(left / SUBMISSION_NAME, entry.out / SUBMISSION_NAME, submission_format)
        except HakunaError as error:
            log.say(str(error))
            report = report_on(entry, error)
    runner, seconds = f"docker, image {image}", round(entry.seconds(), 2)
    return replace(report, runner=runner, enforced=tuple(Rule), not_enforced=(), seconds=seconds)


def _docker(*arguments: str) -> bool:
    """Whether a short command of Docker's succeeded in time."""
    try:
        command = ["docker", *arguments]  # the user's own
        return not subprocess.run(command, check=False, capture_output=True, timeout=PROBE_SECONDS).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def docker_command(entry: Entry, image: str, name: str, staged: Path, hidden: tuple[Path, ...]) -> list[str]:
    """`docker run` with the mounts of the contract, as the contract's user (or the one who calls, if that is not root)."""
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    user = CONTRACT_USER if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    data = entry.data.resolve()
    command = ["docker", "run", "--rm", "--name", name, "--network", "none", "--read-only", "--user", user]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(MAX_PROCESSES)]
    command += ["--memory", str(memory), "--memory-swap", str(memory), "--tmpfs", TEMPORARY_FILES]
    command += ["--volume", f"{data}:/inference/data:ro", "--volume", f"{staged / 'scratch'}:/scratch"]
    command += ["--volume", f"{staged / SUBMISSION_FOLDER}:/inference/submission"]
    for path in hidden:
        if path.resolve().is_relative_to(data):
            inside = path.resolve().relative_to(data)
            command += ["--volume", f"/dev/null:/inference/data/{inside}:ro"]
    if GPU_DRIVER.exists():
        command += ["--gpus", "all"]
    command += ["--env", f"{BUDGET_VARIABLE}={entry.budget - entry.seconds():.1f}", "--env", "HAKUNA_SCRATCH=/scratch"]
    return [*command, image, "entrypoint"]


@contextmanager
def _staged(entry: Entry, scratch: Path | None) -> Iterator[Path]:
    """Folders for the container, writable for its user, with the archive in its place."""
    with scratch_folder(scratch) as folder:
        folder.chmod(0o755)
        archive = folder / SUBMISSION_FOLDER / ARCHIVE_NAME
        with output_errors(folder):
            for name in (SUBMISSION_FOLDER, "scratch"):
                (folder / name).mkdir()
                (folder / name).chmod(0o777)
        try:
            shutil.copyfile(entry.archive, archive)
        except OSError as error:
            raise InvalidEntryError(f"{entry.archive}: must be a readable archive, got: {error.strerror}") from error
        archive.chmod(0o644)
        yield folder


def _read_report(path: Path, code: int) -> EntryReport:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["format_version"]
        return TypeAdapter(EntryReport).validate_python(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if code == KILLED:
            problem = f"the container was killed ({code}): out of memory? {LOG_NAME} has the end"
            raise ProgramFailedError(problem) from error
        raise HakunaError(f"the container must leave {REPORT_NAME}, but ended with {code}; see {LOG_NAME}") from error
