"""A bundle in an archive: the same bytes every time, complete, and nothing but what it needs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmark.rehearsal.archive import unpack
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError, OutputError
from models.bundling.pack import pack
from runtime_tests.running import hakuna_here


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_bundle_packed_elsewhere_at_another_time_has_the_same_hash(
    quick_bundle: Bundle, tmp_path: Path
) -> None:
    first = hakuna_here("pack", "--bundle", quick_bundle.folder, "--out", tmp_path / "first.zip")
    assert first.returncode == 0, first.stderr
    assert sha256(tmp_path / "first.zip") in first.stdout
    copy = tmp_path / "copy"
    shutil.copytree(quick_bundle.folder, copy)
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    packed = pack(open_bundle(copy), tmp_path / "second.zip")
    assert packed.sha256 == sha256(tmp_path / "first.zip") == sha256(tmp_path / "second.zip")


def test_an_archive_holds_main_the_program_and_the_bundle_and_nothing_else(
    quick_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "submission.zip"
    packed = pack(quick_bundle, path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        for relative in ("manifest.json", *quick_bundle.manifest.files):
            assert archive.read(f"bundle/{relative}") == quick_bundle.path(relative).read_bytes()
    assert names[0] == "main.py"
    others = [name for name in names if not name.startswith(("bundle/", "hakuna/inference/"))]
    assert others == ["main.py", "hakuna/contract.json", "hakuna/hakuna_runtime-0.1.0.dist-info/METADATA"]
    assert "hakuna/inference/run/pipeline.py" in names
    assert not [name for name in names if "__pycache__" in name or "models" in name or "benchmark" in name]
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {member.external_attr >> 16 for member in members} == {stat.S_IFREG | 0o644}
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    (tmp_path / "unpacked").mkdir()
    facts = unpack(path, tmp_path / "unpacked")
    assert (
        (facts.archive_members, facts.archive_bytes)
        == (packed.n_members, packed.n_bytes)
        == (len(names), path.stat().st_size)
    )


@pytest.mark.parametrize(
    ("options", "seconds"), [((), 27_900), (("--budget", "5m"), 290.625), (("--contract", "codabench"), 581.25)]
)
def test_an_archive_ends_itself_before_the_limit(
    options: tuple[str, ...], seconds: float, quick_bundle: Bundle, tmp_path: Path
) -> None:
    """31/32 of 8 h, of 5 min, and of the 600 s of Codabench."""
    result = hakuna_here("pack", "--bundle", quick_bundle.folder, "--out", tmp_path / "a.zip", *options)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert float(json.loads(archive.read("hakuna/contract.json"))["budget"]) == seconds


def test_another_program_reads_what_was_packed(quick_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "submission.zip"
    pack(quick_bundle, path)
    if shutil.which("unzip") is None:
        pytest.skip("needs unzip")
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "unzipped"], check=True)
    assert open_bundle(tmp_path / "unzipped" / "bundle").id == quick_bundle.id


def test_a_damaged_bundle_is_not_packed_and_an_older_archive_stays(quick_bundle: Bundle, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "submission.zip"
    shutil.copytree(quick_bundle.folder, bundle)
    next(bundle.glob("stackers/*/zebra.txt")).write_text("tree\n", encoding="utf-8")
    out.write_bytes(b"older")
    with pytest.raises(BundleError, match="zebra.txt: must have"):
        pack(open_bundle(bundle), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "submission.zip"]
    assert out.read_bytes() == b"older"


def test_a_bundle_that_changes_while_it_is_packed_is_refused(quick_bundle: Bundle, tmp_path: Path) -> None:
    opened = open_bundle(Path(shutil.copytree(quick_bundle.folder, tmp_path / "bundle")))
    booster = next(opened.folder.glob("stackers/*/zebra.txt"))
    booster.write_bytes(booster.read_bytes().replace(b"tree", b"Tree"))
    with pytest.raises(BundleError, match="zebra.txt: must not change while it is packed"):
        pack(opened, tmp_path / "submission.zip")
    assert not (tmp_path / "submission.zip").exists()


def test_a_folder_that_is_not_there_is_an_output_error(quick_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="submission.zip must be writable"):
        pack(quick_bundle, tmp_path / "nowhere" / "submission.zip")


def test_main_says_what_is_wrong_and_ends_with_the_code_of_the_prediction(quick_bundle: Bundle, tmp_path: Path) -> None:
    pack(quick_bundle, tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        archive.extractall(tmp_path / "work")  # our own
    (tmp_path / "work" / "data").mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path / "work", env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 3
    assert "test_metadata.csv: must be a readable CSV file" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_archive_predicts_without_typer_and_rich(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pack(quick_bundle, tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        archive.extractall(tmp_path / "work")  # our own
    (tmp_path / "work" / "data").symlink_to(season)
    blocked = "import runpy, sys; sys.modules['typer'] = sys.modules['rich'] = None; runpy.run_path('main.py', run_name='__main__')"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-P", "-c", blocked], cwd=tmp_path / "work", env=variables, check=True)
    assert (tmp_path / "work" / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()
