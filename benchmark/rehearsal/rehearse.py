"""`hakuna rehearse`: a participant's archive or folder under a competition's contract on this machine, timed, checked and scored."""

import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.rehearsal.archive import check_totals
from benchmark.rehearsal.docker_runner import run_in_docker, why_no_docker
from benchmark.rehearsal.entry import REPORT_NAME, Entry, EntryReport, Verdict, refused_entry, report_on, run_entry
from benchmark.sandbox.bubblewrap import why_no_bubblewrap
from benchmark.sandbox.contract import LOG_NAME, Runner
from benchmark.sandbox.sandbox import in_bubblewrap, in_process, scratch_folder
from benchmark.sandbox.supervise import Signals
from benchmark.scoring.log_loss import score
from inference.core.errors import (
    HakunaError,
    InputError,
    InvalidEntryError,
    LockedError,
    OutputError,
    PastLimitError,
    UsageError,
    counted,
)
from inference.core.files import (
    HASH_BLOCK_BYTES,
    atomic_csv,
    check_folder,
    files_below,
    os_errors,
    output_errors,
    read_json,
    walk,
    write_json,
)
from inference.dataset.label_tables import Table, read_labels, read_submission
from inference.dataset.metadata import FORMAT_NAME, METADATA_NAME, csv_rows, read_metadata, read_submission_format
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.lock import LOCK_NAME, locked
from inference.settings.verbosity import Verbosity, verbosity
from inference.storage.local import LocalFolder
from models.bundling.pack import member

STDERR = 2
SMOKE_FOLDER = "smoke"
"""Of the output folder: log, report and submission of the smoke run."""
EARLIER = (
    *(SUBMISSION_NAME, LOG_NAME),
    *(f"{SMOKE_FOLDER}/{name}" for name in (SUBMISSION_NAME, LOG_NAME, REPORT_NAME)),
)
"""Files of an earlier rehearsal that must not stand beside the report of this one."""
DATA_WANTED = f"a folder with photos, {METADATA_NAME} and {FORMAT_NAME}"
DATA_HINT = "`hakuna metadata` makes both tables from photos"


def rehearse(
    entry: Entry,
    *,
    labels: Path | None,
    runner: Runner,
    image: str,
    scratch: Path | None,
    signals: Signals,
    smoke: int | None = None,
) -> EntryReport:
    """Run an entry, score it if there are labels, and leave the report in its output folder.

    With `smoke` it runs on that number of sequences first (0: the number of the contract), and not again if that fails.
    The report of an earlier rehearsal is replaced before anything else, so that no error leaves it there.

    Raises UsageError if the output folder holds anything else, or the runner or the models cannot be used; InputError,
    before anything runs, if archive or data are missing, or labels or submission format are invalid.
    """
    with _no_earlier_verdict(entry):
        truth = _check(entry, labels)
        used, remark = _choose(runner, image)
        console = None if verbosity() is Verbosity.QUIET else STDERR

        def run(one: Entry) -> EntryReport:
            _begin(entry)
            hidden = _names_of(labels, one.data)
            if used is Runner.DOCKER:
                return run_in_docker(one, image, scratch=scratch, hidden=hidden, signals=signals, console=console)
            place = in_bubblewrap if used is Runner.BUBBLEWRAP else in_process
            prepared = place(one.data, scratch, hidden, one.contract, one.models)
            report = run_entry(one, prepared, signals=signals, console=console)
            return replace(report, runner=report.runner + remark)

        try:
            with _as_archive(entry, labels, scratch, signals) as whole:
                if smoke is None:
                    report = run(whole)
                else:
                    n = smoke or entry.contract.smoke.sequences
                    with _few_sequences(whole, n, _names_of(labels, entry.data), scratch, signals) as (few, n):
                        report = run(few)
                    figures: dict[str, Any] = {"smoke_sequences": n, "smoke_seconds": report.seconds}
                    if report.verdict is Verdict.VALID:
                        report = replace(run(replace(whole, started=time.monotonic())), **figures)
                    else:
                        message = f"smoke run on {counted(n, 'sequence')}: {report.message}"
                        report = replace(report, message=message, **figures)
        except (InvalidEntryError, PastLimitError) as error:  # of a folder
            report = refused_entry(entry, error, console)
        if truth and report.verdict is Verdict.VALID:
            report = replace(report, log_loss=score(read_submission(entry.out / SUBMISSION_NAME), truth).log_loss)
        write_json(report.as_json(), entry.out / REPORT_NAME)
        return report


@contextmanager
def _no_earlier_verdict(entry: Entry) -> Iterator[None]:
    """Remove the results of an earlier rehearsal; where an error ends this one, its report has that error."""
    if _is_earlier(entry):
        _begin(entry, *EARLIER)
    try:
        yield
    except HakunaError as error:
        if not isinstance(error, LockedError) and (entry.out / REPORT_NAME).exists():
            with suppress(OutputError):
                write_json(report_on(entry, error).as_json(), entry.out / REPORT_NAME)
        raise


def _is_earlier(entry: Entry) -> bool:
    """Whether the output folder is that of an earlier rehearsal. Raises UsageError if it holds anything else."""
    out = entry.out
    with os_errors(OutputError, f"{out}: must be readable"):
        names = sorted({*os.listdir(out)} - {LOCK_NAME}) if out.is_dir() else []
    is_own = out.resolve() in (entry.archive.resolve(), entry.data.resolve())
    if not is_own and _is_report(out / REPORT_NAME):
        return True
    if is_own or names or (os.path.lexists(out) and not out.is_dir()):
        got = "that of the entry or the data" if is_own else f"one with {names[0]}" if names else "a file"
        wanted = "must be a new or empty folder, or that of an earlier rehearsal"
        raise UsageError(f"--out {out}: {wanted}, got {got}", hint="choose another folder")
    return False


def _is_report(path: Path) -> bool:
    try:
        return "verdict" in read_json(path)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _begin(entry: Entry, *earlier: str) -> None:
    """Leave a report without a verdict, which holds until the rehearsal ends; remove files of an earlier one."""
    with locked(entry.out), output_errors(entry.out):
        for name in earlier:
            (entry.out / name).unlink(missing_ok=True)
        report = report_on(entry, HakunaError("the rehearsal must come to its end, but is at work or was killed"))
        write_json(report.as_json(), entry.out / REPORT_NAME)


def _check(entry: Entry, labels: Path | None) -> Table | None:
    """Refuse an entry that cannot be rehearsed; returns the labels. Raises UsageError or InputError."""
    if not entry.archive.exists():
        wanted = f"an archive (.zip) or a folder with {entry.contract.entry}"
        raise InputError(f"{entry.archive}: must be {wanted}, got: no such file or folder")
    check_folder(entry.data, InputError, DATA_WANTED, DATA_HINT)
    if not os.path.lexists(entry.data / FORMAT_NAME):
        raise InputError(f"{entry.data}: must be {DATA_WANTED}, got no {FORMAT_NAME}", hint=DATA_HINT)
    if entry.models and not (entry.contract.models and entry.models.is_dir()):
        wanted = "a folder, and the contract must have a place for it"
        raise UsageError(f"--models {entry.models}: must be {wanted}, got contract {entry.contract.name}")
    if labels is None:
        return None
    truth = read_labels(labels)
    expected, given = set(read_submission_format(entry.data / FORMAT_NAME).seq_ids), set(truth.seq_ids)
    if expected != given:
        parts = (("missing", expected - given), ("too many", given - expected))
        got = " and ".join(
            f"{counted(len(some), 'sequence')} {what}, such as {min(some)}" for what, some in parts if some
        )
        raise InputError(f"{labels}: must have the sequences of {FORMAT_NAME}, got {got}")
    return truth


@contextmanager
def _as_archive(entry: Entry, labels: Path | None, scratch: Path | None, signals: Signals) -> Iterator[Entry]:
    """The entry itself, or, if it is a folder, with an archive of that folder; the time counts from then on.

    Labels, data and output folder may be inside that folder: they are left out.

    Raises InvalidEntryError if that folder cannot be an entry, InputError if it cannot be read.
    """
    source = entry.archive
    if not source.is_dir():
        yield entry
        return
    if not (source / entry.contract.entry).is_file():
        deeper = sorted(source.glob(f"*/{entry.contract.entry}"))
        got = f"; got {deeper[0]}: give that folder" if deeper else ""
        raise InvalidEntryError(f"{source}: must have a file {entry.contract.entry} at its root{got}")
    for one in source.iterdir():
        if one.name.casefold() in entry.contract.reserved_names:
            raise InvalidEntryError(
                f"{one}: must not be there, as the contract has a folder of that name",
                hint=f"move {one.name} out of the folder, or make an archive without it",
            )
    given = (one.resolve() for one in (labels, entry.data, entry.out) if one)
    apart = [one for one in given if one != source.resolve() and one.is_relative_to(source.resolve())]
    with os_errors(InputError, f"{source}: must be readable"):
        inside = ((one.parent.resolve() / one.name, one) for one in files_below(source))
        files = [one for place, one in inside if not any(map(place.is_relative_to, apart))]
        check_totals(source, len(files), sum(one.lstat().st_size for one in files))
    begun = time.monotonic()

    def check() -> None:
        signals.check()
        if (seconds := time.monotonic() - begun) > entry.budget:
            raise PastLimitError(
                f"{source}: must be packed within the {entry.budget:g} s of the time limit, took {seconds:.1f} s"
            )

    with scratch_folder(scratch) as folder:
        archive = folder / f"{source.resolve().name}.zip"
        with output_errors(archive), zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for path in files:
                check()
                _add(file, path, path.relative_to(source).as_posix(), check)
        yield replace(entry, archive=archive, source=source, started=time.monotonic())


def _add(archive: zipfile.ZipFile, path: Path, name: str, check: Callable[[], None]) -> None:
    """Store a file. Of links, pipes and the like only the name and the type, for which `unpack` refuses the archive."""
    status = path.lstat()
    with os_errors(InputError, f"{path}: must be readable"):
        file = open(path if stat.S_ISREG(status.st_mode) else os.devnull, "rb")  # noqa: SIM115  # closed below
    with file:
        try:
            with archive.open(member(name, status.st_mode, status.st_size), "w") as target:
                while block := file.read(HASH_BLOCK_BYTES):
                    check()
                    target.write(block)
        except UnicodeEncodeError as error:
            raise InvalidEntryError(f"{path}: its name must be UTF-8") from error


@contextmanager
def _few_sequences(
    entry: Entry, n: int, hidden: tuple[Path, ...], scratch: Path | None, signals: Signals
) -> Iterator[tuple[Entry, int]]:
    """A smoke run of an entry: data with the first `n` sequences of the format that have photos in the metadata; how many there are.

    Files of the data that are `hidden` in the whole run are empty in this one.

    Raises InputError if metadata or format are invalid.
    """
    photos = LocalFolder(entry.data)
    sequences = read_metadata(entry.data / METADATA_NAME).sequences
    seq_ids = read_submission_format(entry.data / FORMAT_NAME).seq_ids
    chosen = {one: sequences[one] for one in [one for one in seq_ids if one in sequences][:n]}
    if not chosen:
        raise InputError(f"{entry.data / METADATA_NAME}: must have sequences of {FORMAT_NAME}, got none")
    with scratch_folder(scratch) as folder:
        data = folder / "data"
        with output_errors(data):
            data.mkdir()
            for name in (FORMAT_NAME, METADATA_NAME):
                with csv_rows(entry.data / name) as (header, rows), atomic_csv(data / name) as table:
                    table.writerow(header)
                    table.writerows(row for _, row in rows if row[header.index("seq_id")] in chosen)
            for image in (image for sequence in chosen.values() for image in sequence.images):
                signals.check()
                if isinstance(content := photos.read(image.file_name), bytes):
                    (data / image.file_name).parent.mkdir(parents=True, exist_ok=True)
                    (data / image.file_name).write_bytes(content)
            for path in hidden:
                if path.is_relative_to(entry.data.resolve()):
                    place = data / path.relative_to(entry.data.resolve())
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.touch()
            for parent, _, names in walk(data):  # readable for the user that the program runs as
                os.chmod(parent, 0o755)  # noqa: S103  # copies of photos
                for name in names:
                    os.chmod(os.path.join(parent, name), 0o644)
        budget, contract = min(entry.contract.smoke.time_limit, entry.budget), entry.contract.for_smoke()
        out, now = entry.out / SMOKE_FOLDER, time.monotonic()
        yield (
            replace(entry, data=data, out=out, budget=budget, started=now, contract=contract, part="smoke run, "),
            len(chosen),
        )


def _names_of(labels: Path | None, data: Path) -> tuple[Path, ...]:
    """The labels, and the same file beside the photos, as a container may have it mounted a second time; each path once."""
    if labels is None:
        return ()
    beside = (one for one in data.glob("*") if os.path.exists(one) and one.samefile(labels))
    return tuple(dict.fromkeys(one.resolve() for one in (labels, *beside)))


def _choose(runner: Runner, image: str) -> tuple[Runner, str]:
    """The runner, and a remark for its name. A program runs without isolation only on request."""
    complaints = []
    if runner in (Runner.AUTO, Runner.DOCKER):
        if not (complaint := why_no_docker(image)):
            return Runner.DOCKER, ""
        complaints.append(f"no Docker: {complaint}")
    if runner in (Runner.AUTO, Runner.BUBBLEWRAP):
        if not (complaint := why_no_bubblewrap()):
            return Runner.BUBBLEWRAP, "".join(f"; {one}" for one in complaints)
        complaints.append(f"no bubblewrap: {complaint}")
    if complaints:
        hint = "--runner process runs the program without isolation"
        raise UsageError(f"--runner {runner}: must be usable, got {'; '.join(complaints)}; {hint}")
    return Runner.PROCESS, ""
