"""Exports, against the formats' own validators where they are installed, and against their rules where not."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference import api
from inference.bundle.manifest import DEMO_WARNING
from inference.core.choices import ExportFormat
from inference.core.errors import CheckpointError, InputError, OutputError, UsageError
from inference.core.labels import LABELS
from inference.dataset.label_tables import Table, read_submission
from inference.dataset.metadata import METADATA_NAME, read_metadata
from inference.export.export import export
from inference.export.long_csv import Place, write_long_csv
from inference.export.taxonomy import SPECIES_LABELS, TAXA
from inference.outputs.finished_run import read_finished_run
from inference.records.jsonl import METADATA, RecordWriter, digest_of_sequences, read_header, read_records
from runtime_tests import camtrap_dp
from runtime_tests.exports import PROJECT, camtrap, copied, failures, made_from, megadetector
from runtime_tests.tables import rows_of
from runtime_tests.tools import TOOLS, require

VALIDATE = """
import json, sys
from megadetector.postprocessing.validate_batch_results import validate_batch_results
print(json.dumps(validate_batch_results(sys.argv[1])["validation_results"]))
"""


@pytest.fixture
def finished(quick_prediction: Path) -> Path:
    """A run on twelve synthetic sequences, three photos of which are damaged, by a demo bundle."""
    return quick_prediction


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What photos cannot tell."""
    path = tmp_path / "project.toml"
    path.write_text(PROJECT)
    return path


def test_megadetector_results_pass_their_own_validator(finished: Path, season: Path, tmp_path: Path) -> None:
    python = TOOLS / "megadetector" / "bin" / "python"
    require([] if python.exists() else ["MegaDetector's validator"])
    out = tmp_path / "results.json"
    content = megadetector(finished, season, out, 0.001)
    assert "classification_category_descriptions" not in content  # its tools parse them as their own taxonomy
    assert validated(python, out) == ([], [])
    del content["info"]["format_version"]
    out.write_text(json.dumps(content))
    assert validated(python, out) != ([], [])


def validated(python: Path, results: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings."""
    result = subprocess.run([python, "-c", VALIDATE, results], capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(result.stdout.splitlines()[-1])
    return found["errors"], found["warnings"]


def test_megadetector_results_have_every_photo_with_what_its_sequence_got(
    finished: Path, season: Path, tmp_path: Path
) -> None:
    content = megadetector(finished, season, tmp_path / "results.json", 0.002)
    assert content["info"]["format_version"] == "1.6"
    assert DEMO_WARNING in content["info"]["classifier"]
    assert content["info"]["warning"] == DEMO_WARNING
    images = {image["file"]: image for image in content["images"]}
    sequences = read_metadata(season / METADATA_NAME).sequences
    failed = failures(finished)
    assert len(failed) == 2  # missing, no image; the truncated photo is completed
    submission = read_submission(finished / "submission.csv")
    rows = dict(zip(submission.seq_ids, submission.values.tolist(), strict=True))
    assert len(images) == sum(len(sequence.images) for sequence in sequences.values())
    for sequence in sequences.values():
        p = dict(zip(LABELS, rows[sequence.seq_id], strict=True))
        for photo in sequence.images:
            image = images[photo.file_name]
            if photo.file_name in failed:
                assert image["failure"] == failed[photo.file_name]
                assert image["detections"] is None
                continue
            [detection] = image["detections"]
            assert detection["category"] == "1"
            assert detection["conf"] == pytest.approx(1 - p["empty"], abs=1e-6)
            told = [
                (content["classification_categories"][number], value) for number, value in detection["classifications"]
            ]
            expected = sorted(((p[label], label) for label in SPECIES_LABELS if p[label] >= 0.002), reverse=True)
            assert [value for _, value in told] == pytest.approx([value for value, _ in expected], abs=1e-6)
            assert {label for label, _ in told} == {label for _, label in expected}


def test_below_the_threshold_megadetector_sees_nothing(finished: Path, season: Path, tmp_path: Path) -> None:
    content = megadetector(finished, season, tmp_path / "results.json", 0.999999)
    assert {len(image["detections"]) for image in content["images"] if "failure" not in image} == {0}


def test_long_csv_has_a_row_for_every_label_from_the_threshold_on(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.csv"
    assert DEMO_WARNING in export(finished, ExportFormat.LONG_CSV, out, None, 0.03, None)
    rows = rows_of(out)
    submission = read_submission(finished / "submission.csv")
    expected = {
        (seq_id, label, value)
        for seq_id, values in zip(submission.seq_ids, submission.values.tolist(), strict=True)
        for label, value in zip(LABELS, values, strict=True)
        if value >= 0.03
    }
    assert {(row["seq_id"], row["label"], float(row["probability"])) for row in rows} == expected
    assert len(rows) == len(expected) > 12
    assert all(DEMO_WARNING in row["model"] for row in rows)
    assert {(row["site"], row["datetime"]) for row in rows} == {("", "")}
    for earlier, later in pairwise(rows):
        assert earlier["seq_id"] != later["seq_id"] or float(earlier["probability"]) >= float(later["probability"])


def test_long_csv_has_site_and_time_of_the_metadata(finished: Path, season: Path, tmp_path: Path) -> None:
    ours = rows_of(season / METADATA_NAME)
    first = ours[0]["seq_id"]
    path = tmp_path / "metadata.csv"
    lines = [
        f"{row['seq_id']},{row['datetime']},{row['file_name']},{'hill' if row['seq_id'] == first else ''}"
        for row in ours
    ]
    path.write_text("\n".join(["seq_id,datetime,file_name,site", *lines]))
    export(finished, ExportFormat.LONG_CSV, tmp_path / "long.csv", path, None, None)
    expected: dict[str, tuple[str, str]] = {}
    for row in ours:  # the first photo of each; else its folder, without that of the card
        site = "hill" if row["seq_id"] == first else row["file_name"].rpartition("/")[0]
        expected.setdefault(row["seq_id"], (site, row["datetime"]))
    got = {row["seq_id"]: (row["site"], row["datetime"]) for row in rows_of(tmp_path / "long.csv")}
    assert got == expected
    path.write_text("seq_id,datetime,file_name\nother,,a.jpg\n")
    with pytest.raises(InputError, match="must be the metadata of the run .*, got none of its sequences"):
        export(finished, ExportFormat.LONG_CSV, tmp_path / "long.csv", path, None, None)


@pytest.mark.parametrize(
    "seq_id", ["=1+1", "+cmd|' /C calc'!A0", "-a", "@SUM(1)", "\tx", "\r=x", "a=1", "-1.5", "+2", "plain"]
)
def test_no_id_in_a_long_csv_is_a_formula_and_numbers_stay_numbers(seq_id: str, finished: Path, tmp_path: Path) -> None:
    """OWASP, CSV injection: an apostrophe before what begins with = + - @, a tab or a carriage return."""
    run = read_finished_run(finished)
    values = np.full((1, len(LABELS)), 0.5)
    write_long_csv(
        replace(run, predictions=Table((seq_id,), values)),
        frozenset(),
        tmp_path / "long.csv",
        0.1,
        {seq_id: Place(seq_id)},
    )
    is_harmless = seq_id in ("a=1", "-1.5", "+2", "plain")
    for column in ("seq_id", "site"):
        assert {row[column] for row in rows_of(tmp_path / "long.csv")} == {seq_id if is_harmless else f"'{seq_id}"}
    assert {row["probability"] for row in rows_of(tmp_path / "long.csv")} == {"0.5"}


@pytest.mark.parametrize("threshold", [0.001, 0.5, 1.0])
def test_camtrap_dp_is_valid(finished: Path, season: Path, project: Path, tmp_path: Path, threshold: float) -> None:
    limit = csv.field_size_limit()
    frictionless = pytest.importorskip("frictionless", reason="needs frictionless")
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    out = tmp_path / "package"
    _, package, _ = camtrap(finished, season / METADATA_NAME, project, out, threshold)
    jsonschema.validate(package, camtrap_dp.PROFILE)
    for resource in package["resources"]:
        assert resource["schema"].endswith(f"/1.0.2/{resource['name']}-table-schema.json")
        resource["schema"] = camtrap_dp.TABLES[resource["name"]]
    package.pop("profile")
    report = frictionless.Package.from_descriptor(package, basepath=str(out)).validate()
    csv.field_size_limit(limit)  # frictionless raises it for the whole process; our readers are tested with Python's
    assert report.valid, report.flatten(["resource", "rowNumber", "fieldName", "message"])
    assert report.stats["errors"] == 0
    assert report.stats["tasks"] == 3


def test_camtrap_dp_has_the_columns_of_the_standard_in_its_order(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    _, _, tables = camtrap(finished, season / METADATA_NAME, project, tmp_path / "package")
    for name, schema in camtrap_dp.TABLES.items():
        assert list(tables[name][0]) == [one["name"] for one in schema["fields"]]


def test_camtrap_dp_tells_events_with_local_time_and_species_from_the_threshold_on(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    told, package, tables = camtrap(finished, season / METADATA_NAME, project, tmp_path / "package", 0.01)
    assert told[0] == DEMO_WARNING
    assert DEMO_WARNING in package["description"]
    submission = read_submission(finished / "submission.csv")
    sequences = read_metadata(season / METADATA_NAME).sequences
    rows = dict(zip(submission.seq_ids, submission.values.tolist(), strict=True))
    by_event: dict[str, list[dict[str, str]]] = {}
    for row in tables["observations"]:
        by_event.setdefault(row["eventID"], []).append(row)
    assert set(by_event) == set(submission.seq_ids)
    for seq_id, observations in by_event.items():
        moments = [image.datetime.replace(" ", "T") + "+03:00" for image in sequences[seq_id].images]
        for row in observations:
            assert (row["observationLevel"], row["eventStart"], row["eventEnd"]) == (
                "event",
                min(moments),
                max(moments),
            )
            assert row["deploymentID"] == sequences[seq_id].images[0].file_name.rpartition("/")[0]
        found = {row["observationID"].rpartition(":")[2]: row for row in observations}
        p = dict(zip(LABELS, rows[seq_id], strict=True))
        assert set(found) == {label for label in SPECIES_LABELS if p[label] >= 0.01}
        for label, row in found.items():
            assert row["scientificName"] == TAXA[label].scientific_name
            assert float(row["classificationProbability"]) == p[label]
            assert DEMO_WARNING in row["classifiedBy"]
    comments = {row["mediaID"]: row["mediaComments"] for row in tables["media"]}
    for name, reason in failures(finished).items():
        assert comments[name] == f"not used: {reason}"
    assert {one["scientificName"] for one in package["taxonomic"]} == {
        row["scientificName"] for row in tables["observations"] if row["scientificName"]
    }
    assert package["spatial"]["coordinates"][0][0] == [34.5, -2.35]


def test_the_sex_of_lions_is_told(finished: Path, season: Path, project: Path, tmp_path: Path) -> None:
    _, _, tables = camtrap(finished, season / METADATA_NAME, project, tmp_path / "package", 0.0)
    sexes: dict[str, set[str]] = {}
    for row in tables["observations"]:
        sexes.setdefault(row["observationTags"].removeprefix("label:"), set()).add(row["sex"])
    assert set(sexes) == set(SPECIES_LABELS)
    assert (sexes.pop("lionfemale"), sexes.pop("lionmale")) == ({"female"}, {"male"})
    assert set.union(*sexes.values()) == {""}


def test_without_any_species_an_event_is_blank_or_unknown(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    _, package, tables = camtrap(finished, season / METADATA_NAME, project, tmp_path / "a", 0.6)
    submission = read_submission(finished / "submission.csv")
    empty = dict(zip(submission.seq_ids, submission.values[:, LABELS.index("empty")].tolist(), strict=True))
    kinds = {row["eventID"]: row["observationType"] for row in tables["observations"]}
    for seq_id, kind in kinds.items():
        if kind in ("blank", "unknown"):
            assert (kind == "blank") == (empty[seq_id] >= 0.6)
    assert "blank" in kinds.values()
    assert {one["scientificName"] for one in package["taxonomic"]} == {
        row["scientificName"] for row in tables["observations"] if row["observationType"] == "animal"
    }


def test_sequences_without_a_time_are_left_out_and_counted_and_sites_of_the_metadata_are_deployments(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    rows = rows_of(season / METADATA_NAME)
    first = rows[0]["seq_id"]
    changed = tmp_path / "metadata.csv"
    with changed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seq_id", "datetime", "file_name", "site"])
        for row in rows:
            moment = "" if row["seq_id"] == first else row["datetime"]
            site = "" if row["file_name"].startswith("S1/B02/B02_R1/") else "S1/B02/B02_R1"
            writer.writerow([row["seq_id"], moment, row["file_name"], site])
    told, _, tables = camtrap(finished, changed, project, tmp_path / "package")
    assert "left out: 1 sequence none of whose photos has a time, which the format needs" in told
    assert first not in {row["eventID"] for row in tables["observations"]}
    assert [row["deploymentID"] for row in tables["deployments"]] == ["S1/B02/B02_R1"]
    assert tables["deployments"][0]["locationName"] == "Kopje"
    with changed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seq_id", "datetime", "file_name"])
        writer.writerows([row["seq_id"], "", row["file_name"]] for row in rows)
    with pytest.raises(InputError, match="at least one sequence must have a photo with a datetime"):
        camtrap(finished, changed, project, tmp_path / "none")


def with_rows(season: Path, path: Path, change: Callable[[dict[str, str]], list[dict[str, str]]]) -> Path:
    """The metadata of the season with other rows in the place of each."""
    rows = [changed for row in rows_of(season / METADATA_NAME) for changed in change(row)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_times_with_an_offset_are_those_moments_by_the_cameras_clock(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    first = next(iter(read_metadata(season / METADATA_NAME).sequences.values()))
    moment = first.images[0].datetime

    def in_utc(row: dict[str, str]) -> list[dict[str, str]]:
        return [{**row, "datetime": f"{moment}+00:00"} if row["seq_id"] == first.seq_id else row]

    _, _, tables = camtrap(finished, with_rows(season, tmp_path / "m.csv", in_utc), project, tmp_path / "package")
    expected = datetime.fromisoformat(moment) + timedelta(hours=3)
    timestamps = {row["mediaID"]: row["timestamp"] for row in tables["media"]}
    for image in first.images:
        assert timestamps[image.file_name] == f"{expected.isoformat()}+03:00"


def test_dates_without_a_time_are_told(finished: Path, season: Path, project: Path, tmp_path: Path) -> None:
    rows = rows_of(season / METADATA_NAME)

    def day(row: dict[str, str]) -> list[dict[str, str]]:
        return [{**row, "datetime": row["datetime"][:10]} if row["file_name"] == rows[0]["file_name"] else row]

    told, _, tables = camtrap(finished, with_rows(season, tmp_path / "m.csv", day), project, tmp_path / "package")
    assert "1 photo has a date without a time, taken as midnight" in told
    timestamps = {row["mediaID"]: row["timestamp"] for row in tables["media"]}
    assert timestamps[rows[0]["file_name"]] == f"{rows[0]['datetime'][:10]}T00:00:00+03:00"


def two_sequences(season: Path, *, of_one_site: bool) -> list[str]:
    sequences = list(read_metadata(season / METADATA_NAME).sequences.values())
    site = sequences[0].images[0].file_name.rpartition("/")[0]
    other = next(one for one in sequences[1:] if (one.images[0].file_name.rpartition("/")[0] == site) == of_one_site)
    return [sequences[0].seq_id, other.seq_id]


SHARED = "S1/zz/shared.JPG"


def test_paths_are_made_plain_and_a_photo_of_two_sequences_is_one_photo(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    two = two_sequences(season, of_one_site=True)

    def share(row: dict[str, str]) -> list[dict[str, str]]:
        changed = {**row, "file_name": f"./{row['file_name'].replace('/', '//', 1)}"}
        return [changed, {**row, "file_name": SHARED}] if row["seq_id"] in two else [changed]

    _, _, tables = camtrap(finished, with_rows(season, tmp_path / "m.csv", share), project, tmp_path / "package")
    ids = [row["mediaID"] for row in tables["media"]]
    assert len(ids) == len(set(ids))
    sequences = read_metadata(season / METADATA_NAME).sequences.values()
    assert set(ids) == {image.file_name for one in sequences for image in one.images} | {SHARED}
    assert [row["filePath"] for row in tables["media"]] == ids


def test_a_photo_of_two_sites_is_refused(finished: Path, season: Path, project: Path, tmp_path: Path) -> None:
    two = two_sequences(season, of_one_site=False)

    def share(row: dict[str, str]) -> list[dict[str, str]]:
        return [row, {**row, "file_name": SHARED}] if row["seq_id"] in two else [row]

    with pytest.raises(InputError, match=f"{SHARED}: must be a photo of one site, got "):
        camtrap(finished, with_rows(season, tmp_path / "m.csv", share), project, tmp_path / "package")


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "a/../b.jpg", "a/b..jpg", ".a.jpg", "~/a.jpg"])
def test_paths_that_the_standard_refuses_are_named(
    name: str, finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    def rename(row: dict[str, str]) -> list[dict[str, str]]:
        return [{**row, "file_name": name, "site": "S1/B01/B01_R1"}]

    metadata = with_rows(season, tmp_path / "m.csv", rename)
    with pytest.raises(InputError, match=f"file_name '{re.escape(name)}': must be a path that Camtrap DP allows"):
        camtrap(finished, metadata, project, tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("replaced", "by", "message"),
    [
        ('title = "Synthetic season"', "", "title: must be given"),
        ("systematicRandom", "random", "sampling_design: must be"),
        ("+03:00", "3", r"utc_offset: must look like \+03:00, got '3'"),
        ("+03:00", "+14:30", r"utc_offset: .*must be from -14:00 to \+14:00 with minutes below 60, got \+14:30"),
        ("+03:00", "-02:60", r"utc_offset: .*with minutes below 60, got -02:60"),
        ("utc_offset", "capture_method = []\nutc_offset", "capture_method: must have at least 1 item"),
        (
            "utc_offset",
            'capture_method = ["timeLapse", "timeLapse"]\nutc_offset',
            "capture_method: .*must name each only once, got timeLapse, timeLapse",
        ),
        ("latitude = -2.25", "latitude = -91", r"deployment 1 \(S1/B01/B01_R1\), latitude: must be -90 to 90, got -91"),
        ("latitude = -2.25", "height = 3\nlatitude = -2.25", r"deployment 1 \(S1/B01/B01_R1\), height: unknown key"),
        ("S1/B03/B03_R1", "S1/B04/B04_R1", r"deployments must have every site, got 1 missing \['S1/B03/B03_R1'\]"),
        ("[[contributors]]", "[[", "must be TOML"),
    ],
)
def test_a_project_that_is_none_is_refused(
    replaced: str, by: str, message: str, finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    project.write_text(PROJECT.replace(replaced, by))
    with pytest.raises(UsageError, match=f"--project.*{message}"):
        camtrap(finished, season / METADATA_NAME, project, tmp_path / "package")


def test_thresholds_that_are_not_given(finished: Path, season: Path, project: Path, tmp_path: Path) -> None:
    """A list begins at 0.01, an observation, which is a statement, at 0.5."""
    metadata = season / METADATA_NAME
    observations = [
        camtrap(finished, metadata, project, tmp_path / f"package {threshold}", threshold)[2]["observations"]
        for threshold in (None, 0.5, 0.01)
    ]
    assert observations[0] == observations[1] != observations[2]
    lists = [megadetector(finished, season, tmp_path / "list.json", threshold) for threshold in (None, 0.01, 0.5)]
    assert lists[0] == lists[1] != lists[2]


def test_what_is_missing_is_told(finished: Path, season: Path, tmp_path: Path) -> None:
    out, metadata = tmp_path / "out", season / METADATA_NAME
    with pytest.raises(UsageError, match="--metadata: must be given"):
        export(finished, ExportFormat.MEGADETECTOR, out, None, None, None)
    with pytest.raises(UsageError, match="--project: must be given"):
        export(finished, ExportFormat.CAMTRAP_DP, out, metadata, None, None)
    with pytest.raises(UsageError, match="must be a readable .toml file"):
        export(finished, ExportFormat.CAMTRAP_DP, out, metadata, None, tmp_path / "no.toml")
    with pytest.raises(InputError, match="run.json: must be there"):
        export(tmp_path, ExportFormat.LONG_CSV, out, None, None, None)
    other = tmp_path / "other.csv"
    other.write_text("seq_id,datetime,file_name\nx,,a.jpg\n")
    with pytest.raises(InputError, match="got none of its sequences"):
        export(finished, ExportFormat.MEGADETECTOR, out, other, None, None)
    with pytest.raises(OutputError, match="must be writable"):
        export(finished, ExportFormat.LONG_CSV, other / "where.csv", None, None, None)
    assert not out.exists()
    export(finished, ExportFormat.LONG_CSV, out / "of" / "folders" / "long.csv", None, None, None)
    (tmp_path / "status.json").touch()
    with pytest.raises(InputError, match=r"must be a finished run, got an unfinished one without run\.json") as error:
        export(tmp_path, ExportFormat.LONG_CSV, out, None, None, None)
    assert "repeat the same `hakuna predict`" in error.value.hint


def changed_first(season: Path, path: Path, **cells: str) -> Path:
    """The metadata with other cells in the first row of a photo that could be used."""
    first = rows_of(season / METADATA_NAME)[1]["file_name"]
    return with_rows(season, path, lambda row: [row | cells if row["file_name"] == first else row])


def test_metadata_of_another_card_are_refused(finished: Path, season: Path, tmp_path: Path) -> None:
    """Cards have the same names of folders and photos: the times differ."""
    path, rows = tmp_path / "m.csv", rows_of(season / METADATA_NAME)
    other_time, bare = "2031-01-01 00:00:00", copied(finished, tmp_path / "bare")
    (bare / "records.jsonl").unlink()
    late = next(second for one, second in pairwise(rows) if one["seq_id"] == second["seq_id"])

    def later(row: dict[str, str]) -> list[dict[str, str]]:
        """Another card, without one of the sequences."""
        return [row | {"datetime": other_time}] * (row["seq_id"] != rows[0]["seq_id"])

    makers: list[Callable[[], Path]] = [
        lambda: changed_first(season, path, datetime=other_time),
        lambda: changed_first(season, path, file_name="S1/B01/B01_R1/other.JPG"),
        lambda: with_rows(season, path, lambda row: [row] * (row != late)),
        lambda: with_rows(season, path, later),
    ]
    for make in makers:
        for run in (finished, bare):
            with pytest.raises(InputError, match="must have the photos and times that the run .* got others") as error:
                export(run, ExportFormat.MEGADETECTOR, tmp_path / "results.json", make(), None, None)
            assert "give the metadata that `hakuna predict` was given" in error.value.hint
    assert not (tmp_path / "results.json").exists()


def test_other_sites_and_further_sequences_are_the_same_metadata(finished: Path, season: Path, tmp_path: Path) -> None:
    """Sites added, and, in a run that had sites, corrected."""
    path, out = tmp_path / "m.csv", tmp_path / "results.json"
    with_rows(season, path, lambda row: [row | {"site": "hill"}, row | {"site": "x", "seq_id": f"{row['seq_id']}x"}])
    export(finished, ExportFormat.MEGADETECTOR, out, path, None, None)
    run = made_from(finished, path, tmp_path / "run")
    old, fingerprint = read_header(run / "records.jsonl"), json.loads((run / "run.json").read_text())["fingerprint"]
    records = [replace(one, site="hill") for one in read_records(run / "records.jsonl", old)]
    ours = read_metadata(path).sequences
    fingerprint[METADATA] = digest_of_sequences(ours[one.seq_id] for one in records)
    content = json.loads((run / "run.json").read_text()) | {"fingerprint": fingerprint}
    run = copied(finished, tmp_path / "with sites")
    (run / "run.json").write_text(json.dumps(content))
    with closing(RecordWriter(run / "records.jsonl", replace(old, fingerprint=fingerprint))) as writer:
        writer.append(records)
    with_rows(season, path, lambda row: [row | {"site": "river"}])
    export(run, ExportFormat.MEGADETECTOR, out, path, None, None)
    with pytest.raises(InputError, match="got others"):
        export(run, ExportFormat.MEGADETECTOR, out, changed_first(season, path, file_name="other.JPG"), None, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("failures.csv", b"a,b,c\n", "row 1: must be seq_id, file_name, reason"),
        ("failures.csv", b"seq_id,file_name,reason\na\n", "row 2: must have 3 columns, got 1"),
        ("failures.csv", None, "must be a readable CSV file"),
        ("submission.csv", None, "must be a readable CSV file"),
    ],
)
def test_damaged_folders_are_refused(
    name: str, content: bytes | None, message: str, finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "copy")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        export(folder, ExportFormat.LONG_CSV, tmp_path / "out.csv", None, None, None)


@pytest.mark.parametrize(
    "edit",
    [
        b"{", b"{}", b"[]", b"[" * 100_000, {"bundle": "demo"}, {"bundle": {"name": "demo", "demo": "no"}}, {"counts": []},
        {"counts": {"sequences_with_priors": "0"}}, {"counts": {"sequences_finished": -1}}, {"files": ["submission.csv"]},
        {"fingerprint": []}, {"seconds": {"elapsed": "1"}}, {"seconds": {"elapsed": float("nan")}}, {"degraded": "no"},
        {"budget": {"seconds": 0, "used_seconds": 1}}, {"budget": {"seconds": 1, "used_seconds": float("nan")}}, {"overlap": {"workers": 2}}, {"versions": {}}, {"status": None},
        {"sequences_per_second": []}, {"counts": {"sequences_by_effort": [1]}},
    ],
)  # fmt: skip
def test_a_run_json_that_somebody_edited_is_refused_by_the_key(
    edit: bytes | dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "copy")
    path = folder / "run.json"
    content = json.loads(path.read_text())
    (folder / "run.json").write_bytes(edit if isinstance(edit, bytes) else json.dumps(content | edit).encode())
    key = next(iter(edit)) if isinstance(edit, dict) else ""
    with pytest.raises(
        CheckpointError, match=f"run.json: must be as `hakuna predict` leaves it, got: .*{key}"
    ) as error:
        read_finished_run(folder)
    assert error.value.exit_code == 8


def test_every_species_has_a_name() -> None:
    assert set(TAXA) == set(SPECIES_LABELS) == set(LABELS) - {"empty"}
    assert (TAXA["lionmale"].sex, TAXA["lionfemale"].sex) == ("male", "female")


def likeliest(finished: Path, tmp_path: Path, *, is_empty: bool) -> tuple[str, str, float]:
    """Sequence, label and probability of the surest species, or of the surest `empty`."""
    export(finished, ExportFormat.LONG_CSV, tmp_path / "all.csv", None, 0.0, None)
    rows = [row for row in rows_of(tmp_path / "all.csv") if (row["label"] == "empty") == is_empty]
    surest = max(rows, key=lambda row: float(row["probability"]))
    return surest["seq_id"], surest["label"], float(surest["probability"])


def test_a_probability_at_the_threshold_counts(finished: Path, season: Path, project: Path, tmp_path: Path) -> None:
    """And one below the next larger number does not."""

    def named(threshold: float) -> tuple[set[str], set[str]]:
        """The observations of the long table, and those of the package."""
        export(finished, ExportFormat.LONG_CSV, tmp_path / "long.csv", None, threshold, None)
        _, _, tables = camtrap(finished, season / METADATA_NAME, project, tmp_path / "package", threshold)
        long = {f"{row['seq_id']}:{row['label']}" for row in rows_of(tmp_path / "long.csv")}
        return long, {row["observationID"] for row in tables["observations"]}

    for is_empty, below in ((False, None), (True, "unknown")):
        seq_id, label, threshold = likeliest(finished, tmp_path, is_empty=is_empty)
        long, package = named(threshold)
        assert f"{seq_id}:{label}" in long
        assert f"{seq_id}:{'blank' if is_empty else label}" in package
        long, package = named(math.nextafter(threshold, 1))
        assert f"{seq_id}:{label}" not in long
        assert f"{seq_id}:{'blank' if is_empty else label}" not in package
        assert below is None or f"{seq_id}:{below}" in package
    confidence = 1 - threshold
    images = read_metadata(season / METADATA_NAME).sequences[seq_id].images
    usable = next(image.file_name for image in images if image.file_name not in failures(finished))
    for one, n_detections in ((confidence, 1), (math.nextafter(confidence, 1), 0)):
        content = megadetector(finished, season, tmp_path / "results.json", one)
        [found] = [image for image in content["images"] if image["file"] == usable]
        assert len(found["detections"]) == n_detections


def test_camtrap_dp_tells_where_and_when_its_cameras_stood(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    rows = rows_of(season / METADATA_NAME)
    late = next(second["file_name"] for one, second in pairwise(rows) if one["seq_id"] == second["seq_id"])

    def delay(row: dict[str, str]) -> list[dict[str, str]]:
        return [{**row, "datetime": "2031-01-01 00:00:00"} if row["file_name"] == late else row]

    metadata = with_rows(season, tmp_path / "m.csv", delay)
    _, package, tables = camtrap(finished, metadata, project, tmp_path / "package")
    moments: dict[str, list[str]] = {}
    for row in rows_of(metadata):
        moments.setdefault(row["file_name"].rpartition("/")[0], []).append(row["datetime"].replace(" ", "T") + "+03:00")
    assert {row["deploymentID"]: (row["deploymentStart"], row["deploymentEnd"]) for row in tables["deployments"]} == {
        site: (min(all_of_site), max(all_of_site)) for site, all_of_site in moments.items()
    }
    everything = [moment for all_of_site in moments.values() for moment in all_of_site]
    assert package["temporal"] == {"start": min(everything)[:10], "end": "2031-01-01"}
    corners = [[34.5, -2.35], [34.7, -2.35], [34.7, -2.25], [34.5, -2.25], [34.5, -2.35]]
    assert package["spatial"] == {"type": "Polygon", "coordinates": [corners]}

    def one_site(row: dict[str, str]) -> list[dict[str, str]]:
        return [{**row, "site": "S1/B02/B02_R1"}]

    metadata = with_rows(season, tmp_path / "m.csv", one_site)
    _, package, _ = camtrap(finished, metadata, project, tmp_path / "one")
    assert package["spatial"] == {"type": "Point", "coordinates": [34.6, -2.3]}


def test_a_photo_has_its_media_type_and_the_capture_method_where_there_is_one(
    finished: Path, season: Path, project: Path, tmp_path: Path
) -> None:
    names = [row["file_name"] for row in rows_of(season / METADATA_NAME)[:3]]
    endings = dict(zip(names, ("PNG", "jpeg", "jpg"), strict=True))

    def rename(row: dict[str, str]) -> list[dict[str, str]]:
        name = row["file_name"]
        return [{**row, "file_name": f"{name[:-3]}{endings.get(name, 'JPG')}"}]

    metadata = with_rows(season, tmp_path / "m.csv", rename)
    _, _, tables = camtrap(finished, metadata, project, tmp_path / "package")
    for row in tables["media"]:
        assert row["fileMediatype"] == ("image/png" if row["filePath"].endswith(".PNG") else "image/jpeg")
    assert [row["fileMediatype"] for row in tables["media"]].count("image/png") == 1
    assert {row["captureMethod"] for row in tables["media"]} == {"activityDetection"}
    both = 'utc_offset = "+03:00"\ncapture_method = ["activityDetection", "timeLapse"]'
    project.write_text(PROJECT.replace('utc_offset = "+03:00"', both))
    _, package, tables = camtrap(finished, metadata, project, tmp_path / "both")
    assert {row["captureMethod"] for row in tables["media"]} == {""}
    assert package["project"]["captureMethod"] == ["activityDetection", "timeLapse"]


def test_sequences_that_the_metadata_lacks_are_left_out_and_counted(
    finished: Path, season: Path, tmp_path: Path
) -> None:
    first = rows_of(season / METADATA_NAME)[0]["seq_id"]
    metadata = with_rows(season, tmp_path / "m.csv", lambda row: [row] * (row["seq_id"] != first))
    told = export(finished, ExportFormat.MEGADETECTOR, tmp_path / "results.json", metadata, None, None)
    assert "left out: 1 sequence that the metadata does not have" in told
    images = json.loads((tmp_path / "results.json").read_text())["images"]
    assert {image["file"] for image in images} == {row["file_name"] for row in rows_of(metadata)}


def test_an_export_never_takes_the_place_of_the_project(finished: Path, season: Path, project: Path) -> None:
    with pytest.raises(UsageError, match="a file that this is made from"):
        export(finished, ExportFormat.CAMTRAP_DP, project, season / METADATA_NAME, None, project)
    assert project.read_text() == PROJECT


@pytest.mark.parametrize("threshold", [5, -1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float, quick_prediction: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--threshold: must be from 0 to 1"):
        api.export(quick_prediction, tmp_path / "long.csv", target="long-csv", threshold=threshold)
    assert not (tmp_path / "long.csv").exists()
