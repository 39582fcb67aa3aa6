"""`hakuna rehearse`: a participant's archive under the competition's contract on this machine, timed, checked and scored."""

from dataclasses import replace
from pathlib import Path

from benchmark.rehearsal.docker_runner import run_in_docker, why_no_docker
from benchmark.rehearsal.entry import REPORT_NAME, Entry, EntryReport, Verdict, run_entry
from benchmark.sandbox.contract import Runner
from benchmark.sandbox.sandbox import in_process
from benchmark.sandbox.supervise import Signals
from benchmark.scoring.log_loss import score
from inference.core.errors import UsageError
from inference.core.files import write_json
from inference.dataset.label_tables import read_labels, read_submission
from inference.outputs.submission import SUBMISSION_NAME

STDERR = 2


def rehearse(
    entry: Entry, *, labels: Path | None, runner: Runner, image: str, scratch: Path | None, signals: Signals
) -> EntryReport:
    """Run an entry, score it if there are labels, and leave the report in its output folder.

    Raises UsageError where Docker was asked for and cannot be used; InputError, before anything runs, where labels or
    submission format are not in order.
    """
    truth = read_labels(labels) if labels else None
    hidden = (labels,) if labels else ()
    complaint = why_no_docker(image) if runner is not Runner.PROCESS else "not asked for"
    if complaint is None:
        report = run_in_docker(entry, image, scratch=scratch, hidden=hidden, signals=signals, console=STDERR)
    elif runner is Runner.DOCKER:
        raise UsageError(f"--runner docker: must be usable, but {complaint}")
    else:
        report = run_entry(entry, in_process(entry.data, scratch, hidden), signals=signals, console=STDERR)
        if runner is Runner.AUTO:
            report = replace(report, runner=f"{report.runner}; no Docker: {complaint}")
    if truth and report.verdict is Verdict.VALID:
        report = replace(report, log_loss=score(read_submission(entry.out / SUBMISSION_NAME), truth).log_loss)
    write_json(report.as_json(), entry.out / REPORT_NAME)
    return report
