"""A participant's archive under the competition's contract: check, unpack, run, check the submission, report."""

import os
import re
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.rehearsal.archive import ArchiveFacts, unpack
from benchmark.rehearsal.submission_check import accept_submission
from benchmark.sandbox.contract import KILLED, LOG_NAME, SEGMENTATION_FAULT, Rule
from benchmark.sandbox.isolated_python import surroundings
from benchmark.sandbox.run_log import RunLog
from benchmark.sandbox.sandbox import Sandbox
from benchmark.sandbox.supervise import ProcessResult, Signals, supervise
from inference.core import errors
from inference.core.files import remove_tree, sha256_of_file, walk, write_json
from inference.core.sequences import MOST_NAMED
from inference.dataset.metadata import FORMAT_NAME, read_submission_format
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.heartbeat import heartbeat
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.process.signals import GRACE_SECONDS
from models.spec.contract import SERENGETI_2019, Contract

REPORT_NAME = "rehearsal.json"
FORMAT_VERSION = 1
ENDINGS = {KILLED: "killed: out of memory?", SEGMENTATION_FAULT: "segmentation fault: a library crashed"}
"""Exit codes that the system gives, explained."""
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
NO_NETWORK = re.compile("name resolution|Name or service not known|Could not resolve host|Network is unreachable")
"""In the output of programs that look for a machine: Python, curl, requests."""
MOST_SHOWN = 200
"""Characters of a line of output in a message."""
MOST_FOLDERS = 1000
"""Of a program, that are searched for a submission in another place."""


class Verdict(StrEnum):
    """Outcome of an entry."""

    VALID = "valid"
    INVALID = "archive or submission invalid"
    PAST_LIMIT = "ran past the time limit"
    FAILED = "the program failed"
    INTERRUPTED = "interrupted"
    NOT_JUDGED = "not judged"
    """The error is not the entry's."""


VERDICTS = {
    errors.InvalidEntryError: Verdict.INVALID,
    errors.PastLimitError: Verdict.PAST_LIMIT,
    errors.ProgramFailedError: Verdict.FAILED,
    errors.InterruptedRunError: Verdict.INTERRUPTED,
}


@dataclass(frozen=True, kw_only=True)
class EntryReport:
    """Outcome of an entry: the content of `rehearsal.json`.

    Attributes
    ----------
    contract, submission_path : its name, and where the program has to write its submission
    seconds : from the start to the program's end, or to the error before it: the budget counts this
    program_seconds, program_exit_code, peak_memory_bytes : of the participant's program; None if it was not started
    python, packages, cores, memory_bytes : of the place where the program runs, if it was made
    smoke_sequences, smoke_seconds : of the smoke run, if there was one; if it failed, the whole report describes it
    log_loss : if labels were given and the submission is valid
    hint : the remedy of the error, if that is known
    """

    verdict: Verdict
    exit_code: int
    message: str
    contract: str = SERENGETI_2019.name
    submission_path: str = SERENGETI_2019.path(SERENGETI_2019.submission)
    runner: str = "none"
    enforced: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()
    budget_seconds: float
    seconds: float
    program_seconds: float | None = None
    program_exit_code: int | None = None
    peak_memory_bytes: int | None = None
    archive_members: int | None = None
    archive_bytes: int | None = None
    unpacked_bytes: int | None = None
    python: str | None = None
    packages: dict[str, str] | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    smoke_sequences: int | None = None
    smoke_seconds: float | None = None
    rows: int | None = None
    submission_sha256: str | None = None
    log_loss: float | None = None
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}


@dataclass(frozen=True)
class Entry:
    """An archive, the folders for it, and the contract that it runs under."""

    archive: Path
    data: Path
    out: Path
    """`submission.csv`, `log.txt`, `rehearsal.json` and the heartbeat are written there."""
    budget: float
    started: float
    """On the monotonic clock: the budget counts from there."""
    contract: Contract = SERENGETI_2019
    models: Path | None = None
    """For the contract's folder of models."""
    source: Path | None = None
    """The folder that the archive was made of, if it was."""
    part: str = ""
    """The name of a run that is only a part of a rehearsal, before its verdict in the log."""

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started


def run_entry(
    entry: Entry, prepared: AbstractContextManager[Sandbox], *, signals: Signals, console: int | None
) -> EntryReport:
    """Run an entry; an error is recorded in the report, with its exit code."""
    known: dict[str, Any] = {}
    error: errors.HakunaError | None = None
    state = RunState(started=entry.started)
    with locked(entry.out) as folder, RunLog(entry.out / LOG_NAME, console, fresh=True) as log:
        try:
            with heartbeat(state, folder), ExitStack() as until_the_end:
                submission_format = read_submission_format(entry.data / FORMAT_NAME)
                sandbox = until_the_end.enter_context(prepared)
                known |= {name: getattr(sandbox, name) for name in ("runner", "enforced", "not_enforced")}
                known |= surroundings()
                state.stage = f"unpacking {entry.archive.name}"
                known |= asdict(_unpack(entry, sandbox, log, signals))
                state.stage = f"running {entry.contract.entry}"
                before, tables = entry.seconds(), _tables(sandbox.work, entry.contract)
                result = _run(entry, sandbox, log, signals)
                known |= {
                    "seconds": round(before + result.seconds, 2),
                    "program_seconds": round(result.seconds, 2),
                    "program_exit_code": result.code,
                    "peak_memory_bytes": result.peak_bytes,
                }
                state.stage = f"checking {SUBMISSION_NAME}"
                signals.check()
                check_seconds(entry, known["seconds"], result.timed_out)
                if result.code:
                    raise _failure(entry, result.code, log.tail())
                _check_written(entry, sandbox.work, tables)
                accept_submission(
                    sandbox.work, entry.contract.submission, entry.out / SUBMISSION_NAME, submission_format
                )
                if log.failure:
                    raise log.failure
                known["rows"] = len(submission_format.seq_ids)
        except errors.HakunaError as caught:
            error = caught
            log.say_error(error)
        report = report_on(entry, error, **known)
        log.say(f"{entry.part}verdict: {report.verdict}, {report.seconds:.2f} of {entry.budget:g} s")
        write_json(report.as_json(), entry.out / REPORT_NAME)
    return report


def refused_entry(entry: Entry, error: errors.HakunaError, console: int | None) -> EntryReport:
    """The report on an entry that was refused before there was an archive, with its lines in the log."""
    with locked(entry.out), RunLog(entry.out / LOG_NAME, console, fresh=True) as log:
        report = report_on(entry, error)
        log.say_error(error)
        log.say(f"verdict: {report.verdict}, {report.seconds:.2f} of {entry.budget:g} s")
    return report


def _unpack(entry: Entry, sandbox: Sandbox, log: RunLog, signals: Signals) -> ArchiveFacts:
    def check() -> None:
        signals.check()
        if entry.seconds() >= entry.budget:
            raise errors.PastLimitError(
                f"{name}: must be unpacked before the time limit of {entry.budget:g} s, took {entry.seconds():.2f} s"
            )

    name = (entry.source or entry.archive).resolve().name
    place = sandbox.work / entry.contract.code
    facts = unpack(entry.archive, place, check=check, contract=entry.contract, source=entry.source)
    size = f"{errors.counted(facts.archive_members, 'member')}, {errors.counted(facts.unpacked_bytes, 'byte')}"
    log.say(f"{name}: {size}, runner: {sandbox.runner}")
    brought = sandbox.work / entry.contract.submission
    if brought.exists():
        remove_tree(brought)  # it may be a folder
        log.say(f"{SUBMISSION_NAME} came with the archive and was removed: the program has to write it")
    sandbox.hand_over(sandbox.work)
    check()
    return facts


def _run(entry: Entry, sandbox: Sandbox, log: RunLog, signals: Signals) -> ProcessResult:
    left, contract = entry.budget - entry.seconds(), entry.contract
    result = supervise(
        [*sandbox.prefix, str(sandbox.python), "-u", contract.main],
        folder=sandbox.work / contract.start,
        environment=sandbox.environment | contract.variables(left),
        log=log,
        signals=signals,
        limit=left,
        grace=GRACE_SECONDS,
    )
    if (
        result.n_left_behind and Rule.PROCESSES not in sandbox.enforced
    ):  # else it may be the first process of bubblewrap
        log.say(f"{contract.entry} left {result.n_left_behind} processes behind, which were ended")
    return result


def _failure(entry: Entry, code: int, said: str) -> errors.ProgramFailedError:
    """The error of a program that did not exit with 0, from the end of its output."""
    lines = said.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    output = f"its last line is {last[:MOST_SHOWN]!r}" if last else "it printed nothing"
    explained = f" ({ENDINGS[code]})" if code in ENDINGS else ""
    hint = ""
    if module := NO_MODULE.search(said):
        hint = f"package {module[1]} is not in the runtime: put it into the archive"
    elif NO_NETWORK.search(said):
        hint = "a rehearsal has no network: put the files that the program downloads into the archive"
    message = f"{entry.contract.entry}: must exit with 0, got {code}{explained}; {output}"
    return errors.ProgramFailedError(f"{message}; see {entry.out / LOG_NAME}", hint=hint)


def _check_written(entry: Entry, work: Path, earlier: set[str]) -> None:
    """Raise InvalidEntryError, with the tables that the program wrote, if its submission is not where it must be."""
    contract = entry.contract
    if os.path.lexists(work / contract.submission):
        return
    new = sorted(_tables(work, contract) - earlier)
    got = f"got {', '.join(new[:MOST_NAMED])}" if new else "got no such file"
    start = contract.from_start(contract.submission)
    raise errors.InvalidEntryError(
        f"{contract.path(contract.submission)}: the program must write it, {got}",
        hint=f"from the folder in which {contract.entry} starts this is {start}",
    )


def _tables(work: Path, contract: Contract) -> set[str]:
    """CSV files below the contract's root, without those of the data, as far as the first folders have them."""
    found = set()
    for parent, folders, names in islice(walk(work, lambda _: None), MOST_FOLDERS):
        below = os.path.relpath(parent, work)
        folders[:] = [
            one for one in folders if os.path.normpath(f"{below}/{one}") not in (contract.data, contract.models)
        ]
        found |= {contract.path(os.path.join(below, name)) for name in names if name.endswith(".csv")}
    return found


def check_seconds(entry: Entry, seconds: float, was_stopped: bool) -> None:
    """Raise PastLimitError where a program was stopped, or had ended in the moment after its time was over."""
    if was_stopped or seconds > entry.budget:
        got = "was stopped" if was_stopped else f"got {seconds:g} s"
        raise errors.PastLimitError(f"{entry.contract.entry}: must end within {entry.budget:g} s of the start, {got}")


def report_on(entry: Entry, error: errors.HakunaError | None, **known: Any) -> EntryReport:
    """Outcome of an entry; `known` are the other fields of the report, as far as they are known."""
    verdict = next((one for kind, one in VERDICTS.items() if isinstance(error, kind)), Verdict.NOT_JUDGED)
    return EntryReport(
        verdict=verdict if error else Verdict.VALID,
        exit_code=error.exit_code if error else 0,
        message=str(error) if error else f"{SUBMISSION_NAME}: {known['rows']} rows",
        hint=error.hint or None if error else None,
        contract=entry.contract.name,
        submission_path=entry.contract.path(entry.contract.submission),
        budget_seconds=entry.budget,
        submission_sha256=None if error else sha256_of_file(entry.out / SUBMISSION_NAME),
        **{"seconds": round(entry.seconds(), 2), **known},
    )
