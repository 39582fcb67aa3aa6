"""Real photos as they lie on a disk -> metadata -> prediction -> report, by command line, with no CSV written by hand."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from runtime_tests.browser import started_browser
from runtime_tests.running import hakuna
from runtime_tests.tables import rows_of

pytestmark = pytest.mark.e2e
GENUINE = {
    f"S1/D04/D04_R6/S1_D04_R6_PICT0{first}0001.JPG": [
        f"S1/D04/D04_R6/S1_D04_R6_PICT0{first}000{k}.JPG" for k in (1, 2, 3)
    ]
    for first in (0, 1, 2)
}
"""The three genuine Serengeti bursts, by the name of their first photo."""


@pytest.fixture(scope="module")
def desk(reference_case: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the three commands left their files."""
    folder = tmp_path_factory.mktemp("field")
    data = reference_case / "data"
    for command in (
        ("metadata", data, "--out", "metadata.csv"),
        ("predict", data, "--metadata", "metadata.csv", "--format", "submission_format.csv", "--bundle",
         quick_bundle.folder, "--out", "results"),
        ("report", "results", "--data", data, "--metadata", "metadata.csv", "--out", "report.html"),
    ):  # fmt: skip
        with chdir(folder):
            result = hakuna(*command)
        assert result.returncode == 0, result.stderr
    return folder


def test_genuine_bursts_are_rows_of_the_submission(desk: Path) -> None:
    rows = rows_of(desk / "metadata.csv")
    assert len(rows) == 39
    for first, names in GENUINE.items():
        assert [row["file_name"] for row in rows if row["seq_id"] == first] == names
    predicted = [row["seq_id"] for row in rows_of(desk / "results" / "submission.csv")]
    assert set(GENUINE) <= set(predicted)
    assert predicted == list(dict.fromkeys(row["seq_id"] for row in rows))
    failed = {row["file_name"]: row["reason"] for row in rows_of(desk / "results" / "failures.csv")}
    assert failed == {
        "S11/B02/B02_R1/g0001.JPG": "not a JPEG or PNG",
        "S11/B02/B02_R1/z0001.JPG": "empty file",
    }


@pytest.mark.browser
def test_the_report_of_real_photos_in_a_browser(desk: Path) -> None:
    """Set HAKUNA_KEEP_SCREENSHOTS to a folder to look at it yourself."""
    page = desk / "report.html"
    assert page.stat().st_size < 10e6
    with started_browser() as browser:
        browser.open(page)
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        sizes = browser.run("return [...document.images].map(one => one.complete && one.naturalWidth)")
        assert len(sizes) > 10
        assert all(sizes)
        assert browser.console() == []
        folder = os.environ.get("HAKUNA_KEEP_SCREENSHOTS")
        for width, scheme in ((360, "light"), (1280, "dark")):
            browser.resize(width, 900)
            browser.prefer(scheme)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            if folder:
                browser.screenshot(Path(folder) / f"real_{width}_{scheme}.png")
