"""`run.json`: facts about a run, counts, and hashes for later checks of its files."""

import platform
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inference.bundle.manifest import DEMO_WARNING
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import DegradedError, counted
from inference.core.files import output_errors, sha256_of_file, sync_folder, write_json
from inference.core.labels import LABELS
from inference.core.sequences import MOST_NAMED, FailureReason, Probabilities, named
from inference.core.version import hakuna_version
from inference.dataset.metadata import Plan
from inference.ensemble.neighbourhood import Neighbourhood
from inference.outputs.run_file import RUN_REPORT_NAME
from inference.outputs.submission import FAILURES_NAME, SUBMISSION_NAME
from inference.precision.betting import is_broken
from inference.process.progress import RunState
from inference.process.stopwatch import Stopwatch
from inference.records.schema import RECORDS_NAME, Record, RecordsHeader

FORMAT_VERSION = 2
COMPLETE, OUT_OF_TIME, SHARD_COMPLETE = "complete", "out of time", "shard complete"
"""Status at the end of a run: every sequence has its record, the budget ended before that, or it was a shard."""
CUT_SHORT = "photos without their end, as after an interrupted copy, are used with the missing part in grey"
CERTAIN = 0.5
"""Below this best probability a person should check a sequence."""
MOST_LABELS = 6
"""Most labels in the last lines."""
LIBRARIES = ("numpy", "pillow", "opencv-python-headless", "lightgbm")


@dataclass
class RecordCounts:
    """Totals over the records of a run."""

    n_frames: int = 0
    n_priors: int = 0
    n_unusable: int = 0
    """Sequences that have photos, none of which could be used."""
    n_without_moment: int = 0
    """Sequences that have photos, none of which has a readable datetime."""
    n_resized: int = 0
    n_cut_short: int = 0
    cut_short: list[str] = field(default_factory=list)
    """The first files of these."""
    n_lower_precision: int = 0
    probe_differences: Counter[float] = field(default_factory=Counter)
    """Sequences by the difference of their networks' answers to the probe, if any."""
    failures: Counter[FailureReason] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    efforts: Counter[Effort] = field(default_factory=Counter)
    """Sequences that got less than full effort."""
    labels: Counter[str] = field(default_factory=Counter)
    """Sequences that a network processed, by their most probable label."""
    n_to_check: int = 0
    """Sequences that no network processed, or whose best probability is below 0.5."""

    def add(self, records: list[Record], probabilities: Probabilities) -> None:
        """Count more records with their probabilities: float32 (N, C), classes in the order of LABELS."""
        likeliest, values = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        for record, best, value in zip(records, likeliest, values, strict=True):
            is_processed = record.n_frames > 0 and record.effort < Effort.PRIORS
            self.labels.update([LABELS[best]] if is_processed else [])
            self.n_to_check += not is_processed or value < CERTAIN
            self.n_frames += record.n_frames
            self.n_priors += record.n_frames == 0
            self.n_unusable += record.n_frames == 0 and record.has_metadata and record.effort < Effort.PRIORS
            self.n_without_moment += record.seconds is None and record.has_metadata
            self.n_resized += record.n_resized
            self.n_cut_short += len(record.cut_short)
            self.cut_short += record.cut_short[: MOST_NAMED - len(self.cut_short)]
            self.n_lower_precision += record.is_mixed
            self.probe_differences.update([record.probe_difference] if record.probe_difference else [])
            self.failures.update(failure.reason for failure in record.failures)
            self.first_failures += named(record.failures)[: MOST_NAMED - len(self.first_failures)]
            self.efforts.update([record.effort] if record.effort else [])

    def facts(self) -> dict[str, Any]:
        """The counts for `run.json`."""
        return {
            "frames": self.n_frames,
            "sequences_with_priors": self.n_priors,
            "sequences_without_usable_photos": self.n_unusable,
            "sequences_without_datetime": self.n_without_moment,
            "sequences_by_effort": {one.label: n for one, n in sorted(self.efforts.items())},
            "sequences_in_lower_precision_for_lack_of_time": self.n_lower_precision,
            "frames_resized": self.n_resized,
            "photos_cut_short": self.n_cut_short,
            "failed_photos": {reason.value: n for reason, n in sorted(self.failures.items())},
            "sequences_by_label": dict(sorted(self.labels.items(), key=lambda one: (-one[1], one[0]))),
            "sequences_to_check": self.n_to_check,
        }


@dataclass(frozen=True)
class RunMetadata:
    """Facts that only the run itself has; a repeated second phase has fewer."""

    state: RunState = field(default_factory=RunState)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    plan: Plan | None = None
    budget: float | None = None
    execution: dict[str, Any] = field(default_factory=dict)


def write(
    out: Path,
    header: RecordsHeader,
    bundle: Bundle,
    counts: RecordCounts,
    run: RunMetadata,
    neighbourhood: Neighbourhood | None,
    audited: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `run.json`, the last file of a run; returns its content."""
    elapsed = run.stopwatch.elapsed()
    n_done = header.n_sequences - run.state.n_kept if run.plan else header.n_sequences
    facts = {
        "fingerprint": header.fingerprint,
        "precision": header.precision | ({"audit": audited} if audited else {}),
        "versions": {
            "hakuna": hakuna_version(),
            "python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
        "counts": {
            "sequences": header.n_sequences,
            **counts.facts(),
            **(_plan_counts(run.plan) | {"calls_repeated_in_float32": run.state.n_repeated} if run.plan else {}),
        },
        **_probe_facts(counts.probe_differences),
        **({"neighbours": _neighbour_facts(neighbourhood)} if neighbourhood else {}),
        "degraded": bool(counts.efforts or counts.n_lower_precision or is_broken(audited)),
        **({"budget": _budget_facts(run.budget, run.state)} if run.budget else {}),
        "seconds": {"elapsed": round(elapsed, 3), **run.stopwatch.seconds()},
        **run.execution,
        "sequences_per_second": round(n_done / elapsed, 3),
        "sequences_kept_from_earlier_run": run.state.n_kept,
        "files": {name: sha256_of_file(out / name) for name in (SUBMISSION_NAME, FAILURES_NAME)},
    }
    return _write(out, COMPLETE, bundle, facts)


def write_shard(out: Path, header: RecordsHeader, bundle: Bundle, run: RunMetadata) -> dict[str, Any]:
    """Write the `run.json` of a shard, which has records and no submission; returns its content."""
    facts = {
        "fingerprint": header.fingerprint,
        "shard": {"first": header.first, "sequences": header.n_sequences, "of": header.n_all},
        "counts": {
            "sequences": header.n_sequences,
            "sequences_with_priors": header.n_sequences - run.state.n_predicted,
            "sequences_by_effort": dict(sorted(run.state.efforts.items())),
            "sequences_in_lower_precision_for_lack_of_time": run.state.n_lower_precision,
            "failed_photos": run.state.n_failures,
            "calls_repeated_in_float32": run.state.n_repeated,
        },
        **_probe_facts(run.state.probe_differences),
        "degraded": run.state.n_degraded > 0,
        **({"budget": _budget_facts(run.budget, run.state)} if run.budget else {}),
        "seconds": {"elapsed": round(run.stopwatch.elapsed(), 3), **run.stopwatch.seconds()},
        "sequences_kept_from_earlier_run": run.state.n_kept,
    }
    return _write(out, SHARD_COMPLETE, bundle, facts)


def write_out_of_time(
    out: Path, bundle: Bundle, n_finished: int, n_predicted: int, state: RunState, budget: float
) -> dict[str, Any]:
    """Write the `run.json` of a run that its deadline ended; returns its content.

    The first `n_finished` rows of the submission are final; `n_predicted` of them come from networks.
    """
    facts = {
        "counts": {
            "sequences": state.n_all,
            "sequences_finished": n_finished,
            "sequences_with_priors": state.n_all - n_predicted,
            "failed_photos": state.n_failures,
            "calls_repeated_in_float32": state.n_repeated,
        },
        **_probe_facts(state.probe_differences),
        "degraded": True,
        "stage": state.stage,
        "budget": _budget_facts(budget, state),
        "files": {name: sha256_of_file(out / name) for name in (SUBMISSION_NAME, FAILURES_NAME)},
    }
    return _write(out, OUT_OF_TIME, bundle, facts)


def _breaking(report: dict[str, Any]) -> dict[str, Any] | None:
    """The audit that shows that the results themselves cost too much: not if they were computed anew in float32."""
    precision = report.get("precision", {})
    is_lower = precision.get("used") != Precision.FLOAT32
    return precision["audit"] if is_lower and is_broken(precision.get("audit")) else None


def findings(report: dict[str, Any], out: Path) -> list[str]:
    """Results and files of the run with this report, as lines for people."""
    counts = report["counts"]
    if report["status"] == SHARD_COMPLETE:
        return [f"{counted(counts['sequences'], 'sequence')} of {report['shard']['of']:,} -> {out / RECORDS_NAME}"]
    if report["status"] == OUT_OF_TIME:
        n_predicted = counts["sequences"] - counts["sequences_with_priors"]
        return [f"{n_predicted:,} of {counted(counts['sequences'], 'sequence')} predicted -> {out / SUBMISSION_NAME}"]
    labels = list(counts["sequences_by_label"].items())
    found = [f"{n:,} {label}" for label, n in labels[:MOST_LABELS]]
    if others := labels[MOST_LABELS:]:
        found.append(f"{sum(n for _, n in others):,} of {counted(len(others), 'other label')}")
    lines = [
        f"{', '.join(found) or 'nothing found'}; {counts['sequences_to_check']:,} to check -> {out / SUBMISSION_NAME}"
    ]
    if n_failed := sum(counts["failed_photos"].values()):
        lines.append(f"{counted(n_failed, 'photo')} could not be used -> {out / FAILURES_NAME}")
    return lines


def completion(report: dict[str, Any], out: Path, exit_code: int = 0) -> dict[str, Any]:
    """The end of a run, for programs: status, counts, files and exit code."""
    names = (RECORDS_NAME,) if report["status"] == SHARD_COMPLETE else tuple(report["files"])
    outputs = [str(out / name) for name in (*names, RUN_REPORT_NAME)]
    return {"status": report["status"], "counts": report["counts"], "outputs": outputs, "exit_code": exit_code}


def shortfall(report: dict[str, Any]) -> str:
    """Effect of a time budget that was too short on the run with this report, for people; "" if it was enough."""
    if not report.get("degraded"):
        return ""
    if audited := _breaking(report):
        return (
            f"{report['precision']['used']} is not exact enough: it increases the expected log loss by at least "
            f"{audited['kl_lower']:.2g}, more than {audited['bound']:g} of it"
        )
    counts, sentence = report.get("counts", {}), "the time budget was too short for everything"
    if not {"sequences", "sequences_with_priors"} <= counts.keys():
        return sentence
    n_all, n_priors = counts["sequences"], counts["sequences_with_priors"]
    start, rest = (
        f"{sentence}: of {counted(n_all, 'sequence')}",
        f"{n_priors:,} have only the usual share of each class (priors)",
    )
    if "sequences_by_effort" not in counts:
        return f"{start} {n_all - n_priors:,} are predicted, {rest}"
    n_part, n_lower_precision = _n_reduced(counts)
    mixed = f"; {n_lower_precision:,} were computed in a lower precision" if n_lower_precision else ""
    return f"{start} {max(0, n_all - n_priors - n_part):,} got the full ensemble, {n_part:,} only a part of it, {rest}{mixed}"


def remedy(report: dict[str, Any]) -> str:
    """The next step after a run with this report whose time budget was too short; "" if it was enough."""
    counts = report.get("counts", {})
    if not report.get("degraded"):
        return ""
    if _breaking(report):
        return "the same `hakuna predict` with --precision float32 and --restart computes every sequence anew"
    if any(_n_reduced(counts)):
        return "the same `hakuna predict` with --restart and a larger --budget computes every sequence anew"
    anew = "" if "sequences_by_effort" in counts else "; with --restart it computes every sequence anew"
    return f"the same `hakuna predict` with a larger --budget predicts the sequences that have only the priors{anew}"


def _n_reduced(counts: dict[str, Any]) -> tuple[int, int]:
    """Sequences that got only a part of the ensemble, and those in a lower precision, for lack of time."""
    efforts = counts.get("sequences_by_effort", {})
    n_lower_precision = counts.get("sequences_in_lower_precision_for_lack_of_time", 0)
    return sum(n for label, n in efforts.items() if label != Effort.PRIORS.label), n_lower_precision


def check_degraded(report: dict[str, Any], out: Path, *, strict: bool = False) -> dict[str, Any]:
    """The report. Raises DegradedError if all sequences have only the priors, or, if strict, if any was degraded."""
    counts = report["counts"]
    if report["degraded"] and (strict or counts["sequences_with_priors"] == counts["sequences"]):
        raise DegradedError(f"{out}: {shortfall(report)}; see {RUN_REPORT_NAME}", hint=remedy(report))
    return report


def _write(out: Path, status: str, bundle: Bundle, facts: dict[str, Any]) -> dict[str, Any]:
    manifest = bundle.manifest
    report = {
        "format_version": FORMAT_VERSION,
        "status": status,
        **({"warning": DEMO_WARNING} if manifest.demo else {}),
        "bundle": {"id": bundle.id, "name": manifest.name, "demo": manifest.demo},
        **facts,
    }
    write_json(report, out / RUN_REPORT_NAME)
    return report


def _budget_facts(budget: float, state: RunState) -> dict[str, float]:
    return {"seconds": budget, "used_seconds": round(state.seconds(), 1)}


def _probe_facts(differences: Counter[float]) -> dict[str, Any]:
    """Number of sequences from networks whose answers to the probe differ from those of the first ones, if any."""
    facts = {"sequences": differences.total(), "largest": max(differences, default=0.0)}
    return {"probe_differences": facts} if differences else {}


def _neighbour_facts(neighbourhood: Neighbourhood) -> dict[str, Any]:
    return {
        "used": neighbourhood.is_used,
        "coverage_by_window": [round(share, 6) for share in neighbourhood.coverage],
        "sequences_without_camera_or_moment": neighbourhood.n_unlocated,
    }


def _plan_counts(plan: Plan) -> dict[str, int]:
    return {
        "sequences_without_metadata": plan.n_without_metadata,
        "sequences_not_in_format": plan.n_not_in_format,
        "duplicate_metadata_rows": plan.n_duplicate_rows,
        "unreadable_datetimes": plan.unreadable.n_rows,
        "datetimes_without_time": plan.without_time.n_rows,
    }


def invalidate(out: Path) -> None:
    """Remove `run.json` before the records change: its hashes would no longer match their submission."""
    path = out / RUN_REPORT_NAME
    if path.exists():
        with output_errors(path):
            path.unlink()
            sync_folder(out)
