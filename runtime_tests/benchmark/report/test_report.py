"""The page of a run: what is on it, and that it asks nobody else for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmark.report.content import Sources, confusion, content_of
from benchmark.report.page import percent, render, write_report
from benchmark.report.selection import PER_CLASS, most_and_least_confident, uncertainty, worst
from benchmark.scoring.files import score as score_files
from benchmark.scoring.log_loss import log_losses
from benchmark.synthetic.season import LABELS_NAME
from inference.bundle.manifest import DEMO_WARNING
from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.dataset.label_tables import Table, read_labels
from inference.dataset.metadata import METADATA_NAME, read_metadata
from inference.outputs.finished_run import FinishedRun, read_finished_run
from inference.settings.units import duration
from runtime_tests.browser import axe_violations, started_browser

ENTER = "\ue007"
"""As WebDriver calls the key."""


@pytest.fixture(scope="module")
def finished(quick_prediction: Path) -> FinishedRun:
    """A run on twelve synthetic sequences, three photos of which are damaged, by a demo bundle."""
    return read_finished_run(quick_prediction)


@pytest.fixture(scope="module")
def sources(season: Path) -> Sources:
    """Everything that a page can be made of."""
    return Sources(
        labels=read_labels(season / LABELS_NAME),
        sequences=read_metadata(season / METADATA_NAME).sequences,
        data_folder=season,
        metadata_path=season / METADATA_NAME,
        n_workers=2,
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def addresses(page: Page) -> list[str]:
    """Everything that a browser might load or follow."""
    return [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]


def test_the_page_tells_the_score_and_shows_every_photo_of_the_sheets(
    finished: FinishedRun, sources: Sources, tmp_path: Path
) -> None:
    content = write_report(finished, sources, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    losses = log_losses(finished.predictions.values, read_in_order(finished, sources))
    assert f"{losses.mean():.6f}" in page.text
    assert DEMO_WARNING in page.text
    for label in LABELS:
        assert label in page.words
    shown = [sheet for group in content.groups for sheet in group.sheets]
    assert len(shown) == 12
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == sum(len(sheet.pictures) for sheet in shown) > 30
    assert all(image["alt"] for image in images)
    for sheet in shown:
        n_failed = len(sheet.failures)
        n_photos = len((sources.sequences or {})[sheet.seq_id].images)
        n_frames = sum(picture.what.startswith("frame") for picture in sheet.pictures)
        assert n_frames == n_photos - n_failed
        assert len(sheet.pictures) == n_frames + (2 if n_frames > 1 else 0)
    assert "missing: 1" in page.text
    assert "S1/B01/B01_R1/S1_B01_R1_PICT00001.JPG" in page.text


def test_the_page_scores_only_labelled_sequences_on_request(finished: FinishedRun, sources: Sources) -> None:
    assert sources.labels is not None
    few = Table(sources.labels.seq_ids[::3], sources.labels.values[::3])
    some = replace(sources, labels=few, n_sheets=0)
    with pytest.raises(InputError, match="must have the same sequences") as error:
        content_of(finished, some)
    assert "--labelled-only" in error.value.hint
    content = content_of(finished, replace(some, labelled_only=True))
    assert content.score is not None
    assert (content.score.n_sequences, content.score.n_without_labels) == (4, 8)
    assert "Left out: 8 sequences without labels." in Page(render(content)).text


def read_in_order(finished: FinishedRun, sources: Sources) -> np.ndarray:
    assert sources.labels is not None
    rows = dict(zip(sources.labels.seq_ids, sources.labels.values, strict=True))
    return np.array([rows[seq_id] for seq_id in finished.predictions.seq_ids])


@pytest.mark.parametrize("with_labels", [True, False])
def test_the_page_loads_nothing_from_elsewhere(finished: FinishedRun, sources: Sources, with_labels: bool) -> None:
    given = sources if with_labels else Sources(sequences=sources.sequences, data_folder=sources.data_folder)
    text = render(content_of(finished, given))
    found = addresses(Page(text))
    assert len(found) > 30
    assert all(one.startswith(("data:image/webp;base64,", "#")) for one in found)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_without_labels_it_shows_the_most_and_the_least_confident(finished: FinishedRun, sources: Sources) -> None:
    content = content_of(finished, Sources(sequences=sources.sequences, data_folder=sources.data_folder, n_sheets=8))
    assert content.score is None
    assert content.groups[0].title == "least confident"
    entropy = uncertainty(finished.predictions.values)
    least = [finished.predictions.seq_ids[row] for row in np.argsort(-entropy, kind="stable")[:2]]
    assert [sheet.seq_id for sheet in content.groups[0].sheets] == least
    text = Page(render(content)).text
    assert "Without labels there is no score" in text
    assert "mean log loss" not in text
    expected = {one.label: one for one in content.expected}
    empty = finished.predictions.values[:, LABELS.index("empty")]
    assert expected["empty"].n_expected == pytest.approx(sum(empty.tolist()))
    assert expected["empty"].n_likely == sum(p >= 0.5 for p in empty.tolist())


def test_without_photos_sheets_say_why_they_have_no_pictures(finished: FinishedRun, sources: Sources) -> None:
    content = content_of(finished, Sources(labels=sources.labels))
    assert "(--metadata)" in Page(render(content)).text
    content = content_of(finished, Sources(labels=sources.labels, sequences=sources.sequences))
    assert "(--data)" in Page(render(content)).text
    assert content_of(finished, Sources(n_sheets=0)).groups == ()


def invented(n: int, random: np.random.Generator, prefix: str = "s") -> tuple[FinishedRun, Table]:
    predictions = random.random((n, 54)) ** 6
    truth = (random.random((n, 54)) < predictions).astype(np.float64)
    seq_ids = tuple(f"{prefix}{row}" for row in range(n))
    facts = {"bundle": {"name": "third_place", "demo": False}}
    return FinishedRun(Path(), Table(seq_ids, predictions), {}, facts), Table(seq_ids, truth)


def test_why_nothing_is_told_of_places_and_few_sites_are_told(random: np.random.Generator, tmp_path: Path) -> None:
    finished, labels = invented(4, random)
    text = Page(render(content_of(finished, Sources(labels=labels)))).text
    assert "Nothing is known of places and times: not derivable from sequence ids, and no metadata was given" in text
    metadata = tmp_path / "metadata.csv"
    rows = [f"{seq_id},2015-01-01 06:30:00,{seq_id}.jpg" for seq_id in labels.seq_ids]
    metadata.write_text("\n".join(["seq_id,datetime,file_name", *rows, ""]))
    text = Page(render(content_of(finished, Sources(labels=labels, metadata_path=metadata)))).text
    assert "no metadata was given" not in text
    assert "All sequences are of the same hour, light, frames: there is nothing to compare" in text
    assert "caution: 4 sequences are too few for these intervals" in text


def test_what_comes_from_files_is_text_and_never_markup(random: np.random.Generator) -> None:
    evil = '<script>alert("x")</script>'
    finished, labels = invented(5, random, evil)
    finished = FinishedRun(Path(), finished.predictions, {evil: evil}, {"bundle": {"name": evil, "demo": False}})
    text = render(content_of(finished, Sources(labels=labels)))
    assert evil not in text
    assert evil in Page(text).text
    assert sum(tag == "script" for tag, _ in Page(text).tags) == 1


def test_only_the_scripts_of_the_page_may_run(random: np.random.Generator) -> None:
    """The policy lists the SHA-256 of what is between the tags (Content Security Policy Level 3, 6.7.2.4), and no more."""
    text = render(content_of(invented(3, random)[0], Sources()))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"].split() == hashes
    assert len(hashes) == 1
    assert "beforeprint" in scripts[0]
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3


def test_a_run_json_that_knows_little_is_enough(random: np.random.Generator) -> None:
    finished, _ = invented(3, random)
    assert "All photos could be used" in Page(render(content_of(finished, Sources()))).text


def test_budget_and_degraded_sequences_are_told(random: np.random.Generator) -> None:
    finished, _ = invented(3, random)
    finished.run.update(
        json.loads(
            '{"degraded": true, "budget": {"seconds": 3600, "used_seconds": 3400.5}, "seconds": {"elapsed": 3400.0, '
            '"networks": 3000.0, "decode": 1500.0}, "sequences_per_second": 1.0, "overlap": {"workers": 2, "bottleneck": "photos"}, "counts": {"sequences_by_effort": {"no tta": 2}}}'
        )
    )
    content = content_of(finished, Sources())
    assert content.stages == (("networks", 3000.0, 1.0), ("decode", 1500.0, 0.5))
    text = Page(render(content)).text
    for words in (
        "Degraded: the time budget",
        "94.5 %",
        "56 min 40 s of 1 h 0 min",
        "no mirror images: 2",
        "running the networks",
        "the slower part reading the photos",
    ):
        assert words in text


def test_the_worst_of_each_class_come_in_order_and_each_sequence_once(random: np.random.Generator) -> None:
    finished, labels = invented(300, random)
    losses = log_losses(finished.predictions.values, labels.values)
    choices = worst(losses, ("zebra", "empty"), 9)
    assert [len(one.rows) for one in choices] == [PER_CLASS, 9 - PER_CLASS]
    zebra = sorted(range(300), key=lambda row: -losses[row, LABELS.index("zebra")])
    assert list(choices[0].rows) == zebra[:PER_CLASS]
    empty = [
        row for row in sorted(range(300), key=lambda row: -losses[row, LABELS.index("empty")]) if row not in zebra[:6]
    ]
    assert list(choices[1].rows) == empty[:3]
    lost = sum(losses[row, LABELS.index("zebra")] for row in choices[0].rows) / losses[:, LABELS.index("zebra")].sum()
    assert f"{lost:.0%}" in choices[0].why


def test_the_most_confident_of_a_class_are_those_whose_likeliest_class_it_is(random: np.random.Generator) -> None:
    predictions = random.random((100, 54)) ** 6
    choices = most_and_least_confident(predictions, 40)
    rows = [row for one in choices for row in one.rows]
    assert len(rows) == len(set(rows)) <= 40
    for one in choices[1:]:
        c = LABELS.index(one.title)
        assert all(predictions[row].argmax() == c for row in one.rows)
        assert [predictions[row, c] for row in one.rows] == sorted(
            (predictions[row, c] for row in one.rows), reverse=True
        )


def test_confusions_are_those_of_a_naive_loop(random: np.random.Generator) -> None:
    finished, labels = invented(200, random)
    got = confusion(finished.predictions.values, labels.values)
    assert got.columns[-1] == "other"
    for label, n, shares in got.rows:
        seen = [row for row in range(200) if labels.values[row, LABELS.index(label)]]
        guesses = [LABELS[max(range(54), key=lambda c: finished.predictions.values[row, c])] for row in seen]
        assert n == len(seen)
        for name, share in zip(got.columns[:-1], shares, strict=False):
            assert share == pytest.approx(guesses.count(name) / n)
        assert sum(shares) == pytest.approx(1)


def test_labels_of_other_sequences_are_refused(random: np.random.Generator) -> None:
    finished, _ = invented(5, random)
    _, labels = invented(5, random, "other")
    with pytest.raises(
        InputError, match="labels and submission: must have the same sequences, got 5 sequences in the labels alone"
    ):
        content_of(finished, Sources(labels=labels))


def test_wrong_labels_and_not_the_metadata_are_blamed(random: np.random.Generator, tmp_path: Path) -> None:
    finished, labels = invented(5, random)
    _, others = invented(5, random, "other")
    metadata = tmp_path / "metadata.csv"
    rows = [f"{seq_id},,{seq_id}.jpg" for seq_id in finished.predictions.seq_ids]
    metadata.write_text("\n".join(["seq_id,datetime,file_name", *rows, ""]))
    for name, table in (("submission", finished.predictions), ("labels", others), ("right", labels)):
        lines = [
            f"{seq_id},{','.join(f'{value:g}' for value in row)}"
            for seq_id, row in zip(table.seq_ids, table.values, strict=True)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"seq_id,{','.join(LABELS)}", *lines, ""]))
    paths = (tmp_path / "submission.csv", tmp_path / "labels.csv")
    with pytest.raises(InputError, match="^labels and submission: must have the same sequences"):
        score_files(*paths, metadata=metadata)
    with pytest.raises(InputError, match="^labels and submission: must have the same sequences"):
        content_of(finished, Sources(labels=others, metadata_path=metadata))
    with pytest.raises(InputError, match="^labels and submission of --compare: must have the same sequences"):
        score_files(paths[0], tmp_path / "right.csv", compare=tmp_path / "labels.csv")


@pytest.mark.parametrize(("value", "shown"), [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.123, "12.3 %"), (1, "100.0 %")])
def test_shares_are_shown_as_percent(value: float, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (100, "1 min 40 s"), (3725, "1 h 2 min")]
)
def test_durations_are_shown_as_people_say_them(value: float, shown: str) -> None:
    assert duration(value) == shown


def repeated(data: Path, n: int, random: np.random.Generator) -> tuple[FinishedRun, Sources]:
    """A run of `n` sequences that share the photos of a folder."""
    finished, labels = invented(n, random)
    known = list(read_metadata(data / METADATA_NAME).sequences.values())
    sequences = {seq_id: known[row % len(known)] for row, seq_id in enumerate(labels.seq_ids)}
    return finished, Sources(labels=labels, sequences=sequences, data_folder=data, n_sheets=200, n_workers=2)


@pytest.mark.slow
def test_200_sheets_of_real_photos_take_less_than_10_mb_and_a_minute(
    reference_case: Path, random: np.random.Generator, tmp_path: Path
) -> None:
    finished, sources = repeated(reference_case / "data", 400, random)
    start = time.perf_counter()
    content = write_report(finished, sources, tmp_path / "report.html")
    assert time.perf_counter() - start < 60
    assert sum(len(group.sheets) for group in content.groups) == 200
    assert (tmp_path / "report.html").stat().st_size < 10e6


@pytest.mark.browser
@pytest.mark.parametrize("with_labels", [True, False])
def test_the_page_in_a_browser(finished: FinishedRun, sources: Sources, with_labels: bool, tmp_path: Path) -> None:
    """It renders without a complaint, fits a phone, opens by keyboard, prints, and is clean for axe-core in both schemes."""
    given = sources if with_labels else Sources(sequences=sources.sequences, data_folder=sources.data_folder)
    page = tmp_path / "report.html"
    write_report(finished, given, page)
    with started_browser() as browser:
        browser.open(page)
        assert (
            browser.run(
                "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
            )
            == 0
        )
        groups = browser.run("return document.querySelectorAll('details.group').length")
        assert groups > 1
        second = "details.group:nth-of-type(2)"
        assert browser.run(f"return document.querySelector('{second}').open") is False
        browser.press(f"{second} > summary", ENTER)
        assert browser.run(f"return document.querySelector('{second}').open") is True
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        widths = browser.run(
            "return [...document.images].map(one => [one.complete, one.naturalWidth, one.clientWidth])"
        )
        assert len(widths) > 20
        assert all(complete and natural > 0 and shown > 0 for complete, natural, shown in widths)
        for width in (360, 1280):
            browser.resize(width, 800)
            assert browser.run("return document.documentElement.scrollWidth") <= width
        colours = []
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            colours.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        assert colours[0] != colours[1]
        assert browser.pdf().startswith(b"%PDF")
        assert browser.console() == []


@pytest.mark.browser
@pytest.mark.parametrize("with_labels", [True, False])
def test_the_page_is_clean_for_axe_core(
    finished: FinishedRun, sources: Sources, with_labels: bool, tmp_path: Path
) -> None:
    given = sources if with_labels else Sources(sequences=sources.sequences, data_folder=sources.data_folder)
    page = tmp_path / "report.html"
    write_report(finished, given, page)
    with started_browser() as browser:
        for scheme in ("light", "dark"):
            for width in (360, 1280):
                browser.open(page)
                browser.resize(width, 800)
                browser.prefer(scheme)
                browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
                assert axe_violations(browser) == []
