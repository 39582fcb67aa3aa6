"""The contract's container, by the machine's Docker engine, with every protection it has."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmark.rehearsal.entry import REPORT_NAME, Entry, EntryReport, check_seconds, report_on
from benchmark.rehearsal.submission_check import accept_submission
from benchmark.sandbox.contract import (
    ARCHIVE_NAME,
    CONTRACT_ID,
    CONTRACT_OUT,
    CONTRACT_ROOT,
    DATA_NAME,
    KILLED,
    LOG_NAME,
    SUBMISSION_FOLDER,
    Rule,
)
from benchmark.sandbox.run_log import RunLog
from benchmark.sandbox.sandbox import scratch_folder
from benchmark.sandbox.supervise import ProcessResult, Signals, supervise
from inference.core.choices import GPU_DRIVER
from inference.core.errors import HakunaError, InputError, InvalidEntryError, PastLimitError, ProgramFailedError
from inference.core.files import os_errors, output_errors, regular_file
from inference.dataset.metadata import FORMAT_NAME, read_submission_format
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.lock import locked
from models.bundling.packed_main import BUDGET_VARIABLE
from models.spec.contract import SERENGETI_2019

PROBE_SECONDS = 30.0
START_SECONDS = 60.0
"""For the engine to start and end a container; the container itself keeps the budget."""
STOP_SECONDS = 20.0
MEMORY_SHARE = 0.9
"""Of the machine's memory, the most that a container may have."""
MAX_PROCESSES = 4096
TEMPORARY_FILES = "/tmp:size=1g,mode=1777"  # noqa: S108  # the container's own
ROOT_FOLDER = "root"
"""Of the staged folders: where the contract's root is not that of our container."""
MAX_REPORT_BYTES = 1 << 16
DOCKER_FAILED = (125, 126, 127)
"""Exit codes of `docker run` itself."""
FIGURES = (
    *("program_seconds", "program_exit_code", "peak_memory_bytes"),
    *("archive_members", "archive_bytes", "unpacked_bytes"),
    *("python", "packages", "cores", "memory_bytes"),
)
"""Fields that are copied from the container's report, for people to read. Verdict and score are made outside."""
JUDGED = (InvalidEntryError, PastLimitError, ProgramFailedError)
DATA = f"{CONTRACT_ROOT}/{DATA_NAME}"
CONTRACT_USER = f"{CONTRACT_ID}:{CONTRACT_ID}"
CONTRACT_FILE = "contract.json"
"""Of the container: the contract, where it is not that of 2019."""


def why_no_docker(image: str) -> str | None:
    """The reason why an image cannot be used, None if it can."""
    if shutil.which("docker") is None:
        return "no docker command on the path"
    if not _docker("info"):
        return "no engine answers `docker info`"
    return None if _docker("image", "inspect", image) else f"the engine has no image {image}"


def run_in_docker(
    entry: Entry, image: str, *, scratch: Path | None, hidden: tuple[Path, ...], signals: Signals, console: int | None
) -> EntryReport:
    """Let the image's own entrypoint run the entry, and check its results again."""
    submission_format = read_submission_format(entry.data / FORMAT_NAME)
    container = f"hakuna-rehearsal-{secrets.token_hex(4)}"
    known: dict[str, Any] = {"runner": f"docker, image {image}", "enforced": tuple(Rule)}
    if "." not in entry.contract.writable:
        known["not_enforced"] = (f"read-only folders below {entry.contract.root}",)
    error: HakunaError | None = None
    with locked(entry.out), RunLog(entry.out / LOG_NAME, console, fresh=True) as log:
        log.say(f"runner: docker, image {image}")
        try:
            with _staged(entry, scratch) as staged:
                before = entry.seconds()
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
                finally:  # the container is removed in every case
                    _docker("rm", "--force", container)
                signals.check()
                left = staged / SUBMISSION_FOLDER
                claimed = _claimed(left / REPORT_NAME)
                known |= {name: getattr(claimed, name) for name in FIGURES if claimed}
                # Without the start and the end of the container, if its report has a time that can be.
                inside = claimed.seconds if claimed and 0 <= claimed.seconds <= result.seconds else result.seconds
                known["seconds"] = round(before + inside, 2)
                _check_end(entry, result, claimed)
                check_seconds(entry, known["seconds"], False)
                accept_submission(left, SUBMISSION_NAME, entry.out / SUBMISSION_NAME, submission_format)
                known["rows"] = len(submission_format.seq_ids)
        except HakunaError as caught:
            error = caught
            log.say_error(error)
    return report_on(entry, error, **known)


def _docker(*arguments: str) -> bool:
    """Whether a short command of Docker's succeeded in time."""
    try:
        command = ["docker", *arguments]  # the user's own
        return not subprocess.run(command, check=False, capture_output=True, timeout=PROBE_SECONDS).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


def docker_command(entry: Entry, image: str, name: str, staged: Path, hidden: tuple[Path, ...]) -> list[str]:
    """`docker run` with the mounts of the contract, as the contract's user (or the one who calls, if that is not root)."""
    contract = entry.contract
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    if contract.memory_gib:
        memory = min(memory, int(contract.memory_gib * (1 << 30)))
    user = CONTRACT_USER if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    command = ["docker", "run", "--rm", "--name", name, "--network", "none", "--read-only", "--user", user]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(MAX_PROCESSES)]
    command += ["--memory", str(memory), "--memory-swap", str(memory), "--tmpfs", TEMPORARY_FILES]
    if contract.root != CONTRACT_ROOT:
        command += _volume(staged / ROOT_FOLDER, contract.root)
    command += [*_volume(staged / "scratch", "/scratch"), *_volume(staged / SUBMISSION_FOLDER, str(CONTRACT_OUT))]
    shown = {contract.path(name): one for name, one in contract.mounts(entry.data, entry.models).items()}
    for place, source in ({DATA: entry.data} | shown).items():
        command += _volume(source.resolve(), f"{place}:ro")
        for path in hidden:
            if path.resolve().is_relative_to(source.resolve()):
                command += _volume(os.devnull, f"{place}/{path.resolve().relative_to(source.resolve())}:ro")
    if GPU_DRIVER.exists():
        command += ["--gpus", "all"]
    command += ["--env", f"{BUDGET_VARIABLE}={entry.budget - entry.seconds():.3f}", "--env", "HAKUNA_SCRATCH=/scratch"]
    if contract == SERENGETI_2019:
        return [*command, image, "entrypoint"]
    mounted = _volume(staged / CONTRACT_FILE, f"/{CONTRACT_FILE}:ro")
    return [*command, *mounted, image, "entrypoint", "--contract", f"/{CONTRACT_FILE}"]


def _volume(source: Path | str, target: str) -> list[str]:
    """An option of `docker run`, which separates names by colons and misreads names that are not UTF-8."""
    for name in (str(source), target.removesuffix(":ro")):
        if ":" in name or not name.isprintable():
            raise InputError(f"{name}: must be printable UTF-8 without ':' for Docker; or take --runner bubblewrap")
    return ["--volume", f"{source}:{target}"]


@contextmanager
def _staged(entry: Entry, scratch: Path | None) -> Iterator[Path]:
    """Folders for the container, writable for its user, with the archive in its place."""
    with scratch_folder(scratch) as folder:
        folder.chmod(0o755)
        archive = folder / SUBMISSION_FOLDER / ARCHIVE_NAME
        with output_errors(folder):
            for name in (SUBMISSION_FOLDER, "scratch", ROOT_FOLDER):
                (folder / name).mkdir()
                (folder / name).chmod(0o777)
            for name in entry.contract.mounts(entry.data, entry.models):
                (folder / ROOT_FOLDER / name).mkdir(parents=True)  # else Docker would, as root
            (folder / CONTRACT_FILE).write_text(entry.contract.model_dump_json(), encoding="utf-8")
            (folder / CONTRACT_FILE).chmod(0o644)
        with os_errors(InvalidEntryError, f"{entry.archive}: must be a readable archive"):
            shutil.copyfile(entry.archive, archive)
        archive.chmod(0o644)
        yield folder


def _claimed(path: Path) -> EntryReport | None:
    """The report of the image's own entrypoint, None if invalid: the program may have written it, or put a pipe."""
    try:
        with open(path, "rb", opener=lambda name, flags: regular_file(name, flags | os.O_NOFOLLOW)) as file:
            content = json.loads(file.read(MAX_REPORT_BYTES))
        del content["format_version"]
        return TypeAdapter(EntryReport).validate_python(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _outside(entry: Entry, claimed: EntryReport) -> str:
    """The message of a container with the names and the time limit of this machine."""
    names = {
        str(CONTRACT_OUT / ARCHIVE_NAME): str(entry.source or entry.archive),
        str(CONTRACT_OUT / LOG_NAME): str(entry.out / LOG_NAME),
        f"{claimed.budget_seconds:g} s": f"{entry.budget:g} s",
    }
    message = claimed.message
    for inside, outside in names.items():
        message = message.replace(inside, outside)
    return message


def _check_end(entry: Entry, result: ProcessResult, claimed: EntryReport | None) -> None:
    """Raise the error of the container's exit code; its report only supplies the message."""
    code = result.code
    if result.timed_out:
        raise PastLimitError(
            f"the container must end by itself when the time is over, was stopped; see {entry.out / LOG_NAME}"
        )
    if code == KILLED:
        raise ProgramFailedError(f"the container was killed ({code}): out of memory? See {entry.out / LOG_NAME}")
    if code:
        ended = f"the container must end with 0, got {code}; see {entry.out / LOG_NAME}"
        kind = next((one for one in JUDGED if one.exit_code == code), HakunaError)
        error = kind(ended)
        if claimed and claimed.exit_code == code:
            error = kind(_outside(entry, claimed), hint=claimed.hint or "")
        error.exit_code = 1 if code in DOCKER_FAILED else code
        raise error
