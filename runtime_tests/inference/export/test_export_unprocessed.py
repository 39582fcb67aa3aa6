"""Unprocessed sequences have the priors in the submission, which are no findings."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.report.content import Sources, content_of
from benchmark.report.page import render
from inference.bundle.reader import Bundle
from inference.core.choices import ExportFormat
from inference.core.errors import CheckpointError, UsageError
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.dataset.label_tables import read_submission
from inference.dataset.metadata import FORMAT_NAME, METADATA_NAME, plan_sequences, read_metadata, read_submission_format
from inference.ensemble.estimator import Estimator, priors_row
from inference.export.export import export
from inference.outputs import run_report
from inference.outputs.finished_run import read_finished_run, unprocessed_sequences
from inference.outputs.provisional import Provisional
from inference.process.progress import RunState
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.run.records_to_submission import records_to_submission
from runtime_tests.exports import PROJECT, camtrap, copied, megadetector
from runtime_tests.running import job_for, run_job
from runtime_tests.tables import rows_of

N_FINISHED = 5


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What photos cannot tell."""
    path = tmp_path / "project.toml"
    path.write_text(PROJECT)
    return path


@pytest.fixture
def out_of_time(quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path) -> Path:
    """What the last moment of a budget leaves: seven records, of which the submission has only five; then priors."""
    folder = tmp_path / "out_of_time"
    folder.mkdir()
    header = read_header(quick_prediction / "records.jsonl")
    records = list(read_records(quick_prediction / "records.jsonl", header))
    writer = RecordWriter(folder / "records.jsonl", header)
    writer.append(records[: N_FINISHED + 2])
    writer.close()
    (folder / "failures.csv").write_text("seq_id,file_name,reason\n")
    estimator = Estimator(quick_bundle)
    estimator.load()
    provisional = Provisional(
        folder, [one.seq_id for one in records], header.labels, priors_row(CLASS_PRIORS),
        lambda some: estimator(some).probabilities,
    )  # fmt: skip
    provisional.add(records[:N_FINISHED])
    state = RunState(n_all=len(records), stage="photos")
    n_finished = provisional.make_final()
    run_report.write_out_of_time(folder, quick_bundle, n_finished, provisional.n_predicted, state, 60.0)
    return folder


def test_priors_of_a_run_that_its_budget_ended_are_no_findings(
    out_of_time: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    sequences = read_metadata(season / METADATA_NAME).sequences
    submission = read_submission(out_of_time / "submission.csv")
    priors = [float(value) for value in CLASS_PRIORS.values()]
    seen = {
        seq_id
        for seq_id, row in zip(submission.seq_ids, submission.values.tolist(), strict=True)
        if row != pytest.approx(priors, abs=1e-7)
    }
    assert 0 < len(seen) <= N_FINISHED
    unseen = set(submission.seq_ids) - seen

    told, _, tables = camtrap(out_of_time, season / METADATA_NAME, project, tmp_path / "package")
    kinds: dict[str, set[str]] = {}
    for row in tables["observations"]:
        kinds.setdefault(row["eventID"], set()).add(row["observationType"])
        if row["observationType"] == "unclassified":
            assert (row["classifiedBy"], row["classificationProbability"], row["scientificName"]) == ("", "", "")
    assert {seq_id for seq_id, found in kinds.items() if found == {"unclassified"}} == unseen
    assert {seq_id for seq_id, found in kinds.items() if "unclassified" not in found} == seen
    assert any(line.startswith(f"{len(unseen)} sequences were not processed") for line in told)

    images = megadetector(out_of_time, season, tmp_path / "results.json")["images"]
    by_file = {image["file"]: image for image in images}
    for seq_id in submission.seq_ids:
        for photo in sequences[seq_id].images:
            image = by_file[photo.file_name]
            assert image.get("failure") == ("not looked at" if seq_id in unseen else None)
            assert (image["detections"] is None) == (seq_id in unseen)

    long = tmp_path / "long.csv"
    told = export(out_of_time, ExportFormat.LONG_CSV, long, None, None, None)
    with long.open(newline="") as file:
        assert {row["seq_id"] for row in csv.DictReader(file)} == seen
    assert told[1].startswith(f"{len(unseen)} sequences were not processed")
    assert told[1].endswith("left out")
    assert told[2].endswith(f"rows of {len(seen)} sequences -> {long}")


def test_the_report_counts_and_shows_only_what_a_network_saw(out_of_time: Path, season: Path) -> None:
    finished = read_finished_run(out_of_time)
    content = content_of(finished, Sources(sequences=read_metadata(season / METADATA_NAME).sequences))
    unseen = unprocessed_sequences(finished)
    rows = [row for row, seq_id in enumerate(finished.predictions.seq_ids) if seq_id not in unseen]
    assert (content.n_sequences, content.n_unprocessed) == (12, 12 - len(rows))
    assert len(rows) == N_FINISHED
    for one in content.expected:
        values = finished.predictions.values[rows, LABELS.index(one.label)].tolist()
        assert one.n_expected == pytest.approx(sum(values))
    assert {sheet.seq_id for group in content.groups for sheet in group.sheets}.isdisjoint(unseen)
    assert "7 sequences that were not processed" in render(content)
    (out_of_time / "records.jsonl").unlink()
    assert content_of(finished, Sources()).n_unprocessed == 0, "nobody can tell"


def test_a_run_that_ended_before_any_sequence_found_nothing(
    out_of_time: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    content = json.loads((out_of_time / "run.json").read_text())
    content["counts"]["sequences_finished"] = 0
    (out_of_time / "run.json").write_text(json.dumps(content))
    (out_of_time / "records.jsonl").unlink()
    _, _, tables = camtrap(out_of_time, season / METADATA_NAME, project, tmp_path / "package")
    assert {row["observationType"] for row in tables["observations"]} == {"unclassified"}
    assert len(tables["observations"]) == 12
    content = content_of(read_finished_run(out_of_time), Sources())
    assert (content.n_unprocessed, content.groups) == (12, ())
    assert "12 sequences that were not processed" in render(content)


@pytest.fixture(scope="module")
def blind(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run, and its metadata, that found none of the four photos of its first sequence."""
    folder = tmp_path_factory.mktemp("blind")
    metadata = folder / "metadata.csv"
    rows = rows_of(season / METADATA_NAME)
    first = rows[0]["seq_id"]
    gone = [{**rows[0], "file_name": f"S1/B01/B01_R1/gone{number}.JPG"} for number in range(4)]
    with metadata.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*gone, *(row for row in rows if row["seq_id"] != first)])
    plan = plan_sequences(read_metadata(metadata), read_submission_format(season / FORMAT_NAME))
    run_job(replace(job_for(season, quick_bundle), plan=plan), folder / "out")
    return folder / "out", metadata


def test_a_sequence_all_of_whose_photos_failed_is_no_finding(
    blind: tuple[Path, Path], project: Path, tmp_path: Path
) -> None:
    """Its photos keep their own reasons; the fourth, which nobody asked for, has none of its own."""
    out, metadata = blind
    [first] = [one.seq_id for one in read_metadata(metadata).sequences.values() if len(one.images) == 4]
    export(out, ExportFormat.MEGADETECTOR, tmp_path / "results.json", metadata, None, None)
    images = {one["file"]: one for one in json.loads((tmp_path / "results.json").read_text())["images"]}
    for number, reason in enumerate(["missing"] * 3 + ["not looked at"]):
        image = images[f"S1/B01/B01_R1/gone{number}.JPG"]
        assert (image["failure"], image["detections"]) == (reason, None)
    export(out, ExportFormat.LONG_CSV, tmp_path / "long.csv", None, 0.0, None)
    told = {row["seq_id"] for row in rows_of(tmp_path / "long.csv")}
    assert first not in told
    assert len(told) == 11
    _, _, tables = camtrap(out, metadata, project, tmp_path / "package")
    [observation] = [row for row in tables["observations"] if row["eventID"] == first]
    assert observation["observationType"] == "unclassified"


def test_a_run_made_from_records_elsewhere_is_exported_with_them(
    blind: tuple[Path, Path], out_of_time: Path, quick_bundle: Bundle, project: Path, tmp_path: Path
) -> None:
    (records, metadata), out = blind, tmp_path / "again"
    records_to_submission(records, Estimator(quick_bundle), out)
    with pytest.raises(CheckpointError, match=r"records\.jsonl: must be there to show .* --records"):
        camtrap(out, metadata, project, tmp_path / "package")
    with pytest.raises(CheckpointError, match="must be the records that .* got others"):
        export(out, ExportFormat.LONG_CSV, tmp_path / "long.csv", None, None, None, out_of_time)
    export(out, ExportFormat.CAMTRAP_DP, tmp_path / "package", metadata, None, project, records)
    export(records, ExportFormat.CAMTRAP_DP, tmp_path / "direct", metadata, None, project)
    for name in ("media", "observations", "deployments"):
        assert (tmp_path / "package" / f"{name}.csv").read_bytes() == (tmp_path / "direct" / f"{name}.csv").read_bytes()


def test_records_of_another_run_are_refused(blind: tuple[Path, Path], tmp_path: Path) -> None:
    folder = copied(blind[0], tmp_path / "copy")
    content = json.loads((folder / "run.json").read_text())
    content["fingerprint"]["photos"] = "others"
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="got others"):
        export(folder, ExportFormat.LONG_CSV, tmp_path / "long.csv", None, None, None)


@pytest.mark.parametrize("order", [[0, 2, 1, 3, 4, 5, 6, 7], [0, 1, 1, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4]])
def test_records_that_are_not_in_their_places_show_nothing(order: list[int], out_of_time: Path, tmp_path: Path) -> None:
    path = out_of_time / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[line] for line in order))
    message = "must be the 5 records that .* was made of, in the order of its submission.csv, got others"
    with pytest.raises(CheckpointError, match=message):
        export(out_of_time, ExportFormat.LONG_CSV, tmp_path / "long.csv", None, None, None)
    with pytest.raises(CheckpointError, match=message):
        content_of(read_finished_run(out_of_time), Sources())
    assert not (tmp_path / "long.csv").exists()


def test_the_report_of_a_run_made_from_records_elsewhere_shows_all_of_it(
    blind: tuple[Path, Path], quick_prediction: Path, tmp_path: Path
) -> None:
    folder = copied(blind[0], tmp_path / "copy")
    (folder / "records.jsonl").write_bytes((quick_prediction / "records.jsonl").read_bytes())
    assert content_of(read_finished_run(folder), Sources()).n_unprocessed == 0, "nobody can tell"


def test_where_no_sequence_has_priors_the_records_are_not_needed(
    quick_prediction: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    folder = copied(quick_prediction, tmp_path / "copy")
    (folder / "records.jsonl").unlink()
    _, _, tables = camtrap(folder, season / METADATA_NAME, project, tmp_path / "package")
    assert "unclassified" not in {row["observationType"] for row in tables["observations"]}


@pytest.mark.parametrize("name", ["submission.csv", "records.jsonl", "run.json", "failures.csv", "status.json", "."])
def test_an_export_never_takes_the_place_of_the_run(name: str, out_of_time: Path) -> None:
    with pytest.raises(UsageError, match="must not be the run, or a file that this is made from"):
        export(out_of_time, ExportFormat.LONG_CSV, out_of_time / name, None, None, None)


def test_an_export_never_takes_the_place_of_the_metadata(out_of_time: Path, season: Path) -> None:
    with pytest.raises(UsageError, match="a file that this is made from"):
        export(out_of_time, ExportFormat.MEGADETECTOR, season / METADATA_NAME, season / METADATA_NAME, None, None)
