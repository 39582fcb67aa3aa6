"""The documentation: its commands run, its links lead somewhere, its figures and lists are those of the project."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.cli
from pydantic import BaseModel
from typer.testing import CliRunner

from benchmark.ablation.report import markdown
from benchmark.ablation.steps import STEPS
from benchmark.cli.app import app
from benchmark.rehearsal.settings import ContractSettings
from benchmark.sandbox.bubblewrap import why_no_bubblewrap
from benchmark.synthetic.season import LABELS_NAME
from inference.bundle.manifest import Manifest
from inference.core import errors
from inference.core.labels import LABELS
from inference.core.sequences import FailureReason
from inference.dataset.label_tables import read_labels
from inference.dataset.metadata import read_metadata
from inference.settings.settings import ENVIRONMENT_PREFIX, Settings
from models.bundling.build import found_networks
from models.spec.contract import CONTRACTS_FOLDER, Contract, load_contract
from models.spec.kinds import DEFAULT_SCHEDULES, NetworkKind
from models.spec.recipe import Recipe, load_recipe
from models.spec.schedule import load_schedule
from runtime_tests.examples import BLOCK, DOCS, ROOT, blocks, save_files
from runtime_tests.models.seasons import SCHEDULE
from runtime_tests.running import environment
from runtime_tests.tools import require

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
MADE_WITH_THE_FIGURES = {ROOT / "benchmark" / "results" / "index.html"}
"""`hakuna bench page` makes it, whenever figures are committed."""
REASON = re.compile(r"<!-- (?:not run: .+|run by (?P<test>[\w/.]+).*) -->\s*$")
"""Above a block that this file does not run: why not, or the test that runs it."""
OUTPUT = "text"
"""The language of blocks that are output, not input."""
COMMAND = typer.main.get_command(app)
PROGRAMS = ("awk", "docker", "hakuna", "make", "pip", "pytest", "python", ".")
RUN = (
    *(f"tutorials/{name}" for name in ("card-to-report", "first-model", "first-entry")),
    *(f"how-to/{name}" for name in ("camtrap-dp", "contracts", "labels", "score", "several-machines")),
    *(f"reference/{name}" for name in ("bundles", "examples", "python")),
)
"""Pages whose `sh` and `python` blocks a test below or test_examples.py runs. Other pages may repeat their lines."""
FOLDERS = "benchmark|container|docs|inference|models|requirements|runtime_tests"
PATH_IN_TEXT = re.compile(rf"`((?:{FOLDERS})/[\w./*-]+|[A-Z_]+\.md|Makefile|Dockerfile|docker-compose\.yml|\.ci/run)`")
"""What a page names as a file of the project."""


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end in, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files_and_headings_of_the_project(page: Path) -> None:
    for first, second in LINK.findall(prose(page)):
        target, _, anchor = (first or second).partition("#")
        assert "://" not in target, "documentation must stand by itself"
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists() or linked in MADE_WITH_THE_FIGURES, f"{page.name}: {target}"
        assert linked.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_of_the_project_that_pages_name_are_there(page: Path) -> None:
    missing = [name for name in PATH_IN_TEXT.findall(prose(page)) if not list(ROOT.glob(name))]
    assert not missing


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_is_run_or_has_a_reason_why_not(page: Path) -> None:
    known = {line for name in RUN for language, block, _ in blocks(DOCS / f"{name}.md") if language == "sh"
             for line in block.splitlines()}  # fmt: skip
    programs = {block for language, block, _ in blocks(DOCS / "reference" / "python.md") if language == "python"}
    for language, block, above in blocks(page):
        where = f"{page.name}: {block.splitlines()[0]}"
        first_words = {line.split()[0] for line in block.splitlines() if line.strip()}
        if language == "sh":
            assert set(block.splitlines()) <= known, f"{where}: must be on a page that a test runs"
        elif language == "console":
            if page.name == "commands.md":  # generated; how to call each command
                continue
            reason = REASON.search(above)
            assert reason, f"{where}: must have a comment above it that states why it is not run, or by which test"
            assert reason["test"] is None or (ROOT / reason["test"]).exists(), f"{where}: {reason['test']}"
        elif language == "python" and page.stem not in ("first-entry", "examples", "labels"):  # saved and run
            assert block in programs, f"{where}: must be on the page of Python"
        elif language != OUTPUT:
            assert not first_words & set(PROGRAMS), f"{where}: must be marked sh or console"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_that_are_not_run_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options and their values, as the command line reads them."""
    lines = [line for language, block, _ in blocks(page) if language == "console" for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if not words or words[0] != "hakuna":
            continue
        one: Any = COMMAND
        for word in words[1:]:
            if not hasattr(one, "commands"):
                break
            one = one.commands[word]
        called: list[dict[str, Any]] = []
        monkeypatch.setattr(one, "callback", lambda called=called, **options: called.append(options))
        problem = ""
        try:
            COMMAND.main(words[1:], standalone_mode=False)
        except typer.BadParameter as error:
            problem = str(error)
        assert called or "does not exist" in problem, (line, problem)


def test_the_table_of_the_ablation_study_is_that_of_the_figures() -> None:
    figures = json.loads((ROOT / "benchmark" / "results" / "ablation.json").read_text())
    made = markdown(figures)
    assert (ROOT / "benchmark" / "results" / "ablation.md").read_text() == made
    table, _, _ = made.partition("\n\n")
    assert table.count("\n") == len(STEPS) + 2
    page = (DOCS / "explanation" / "ablation.md").read_text()
    assert table in page
    assert f"took {figures['seconds'] / 60:.0f} minutes" in page


def test_seconds_for_a_thousand_photos_are_those_of_the_figures() -> None:
    page = (DOCS / "explanation" / "speed.md").read_text()
    results = ROOT / "benchmark" / "results"
    measured = json.loads((results / "against_published.json").read_text())
    [n_photos] = re.findall(r"measured on (\d+) photos", page)
    second = {name: one["second"] for name, one in measured["ours"].items()}
    seconds = [second[name]["work_seconds"] / int(n_photos) * 1000 for name in ("float32", "int8")]
    assert "| {:,.0f} | {:,.0f} |".format(*(round(one, -1) for one in seconds)) in page
    for name, one in second.items():
        times = measured["speedup"][name]
        figures = (one["start_seconds"], one["work_seconds"], one["whole_seconds"])
        assert "| {:.0f} s | {:.0f} s | {:.0f} s | {work:.1f} | {whole:.1f} |".format(*figures, **times) in page
    projected = json.loads((results / "season11_v100.json").read_text())
    low = {one["precision"]: one["hours"] * 3600 for one in projected["projections"]
           if (one["ensemble"], one["level"]) == ("full", "low")}  # fmt: skip
    per_thousand = [low[one] / projected["workload"]["images"] * 1000 for one in ("float32", "mixed")]
    assert "| one Tesla V100 | {:.0f} | {:.0f} (mixed) |".format(*per_thousand) in page


def test_the_cost_of_precisions_is_that_of_the_figures() -> None:
    page = (DOCS / "explanation" / "precision.md").read_text()
    for name, precisions in (("precisions", ("int8", "mixed")), ("precisions_spoilt", ("int8",))):
        measured = json.loads((ROOT / "benchmark" / "results" / f"{name}.json").read_text())
        for precision in precisions:
            one = measured["precisions"][precision]
            assert one["sequences"] >= 1000
            interval = "{low:.6f} to {high:.6f}".format(**one["interval"])
            row = f"{one['increase']:.6f} ({interval}) | {one['estimated_increase']:.6f} | {one['estimated_relative_increase']:.2%}"
            outcome = "accepted" if one["is_accepted"] else "refused"
            assert f"| {row.replace('%', ' %')} | {outcome} |" in page
            assert one["is_accepted"] is (name == "precisions")


def test_the_page_of_commands_is_that_of_the_command_line() -> None:
    words = ["benchmark.cli.app", "utils", "docs", "--name", "hakuna", "--title", "Commands"]
    made = CliRunner().invoke(typer.cli.app, words).output.replace("\b", "")
    assert (DOCS / "reference" / "commands.md").read_text() == made, "must be made anew with `make commands`"


def test_every_exit_code_setting_and_reason_is_explained() -> None:
    codes = re.findall(r"^\| ([\d, ]+) \|", (DOCS / "reference" / "exit-codes.md").read_text(), re.MULTILINE)
    ours = {one.exit_code for _, one in inspect.getmembers(errors, inspect.isclass) if hasattr(one, "exit_code")}
    assert {int(code) for row in codes for code in row.split(", ")} == ours | {0, 130, 143}
    settings = (DOCS / "reference" / "settings.md").read_text()
    for name in (*Settings.model_fields, *ContractSettings.model_fields):
        assert f"`{ENVIRONMENT_PREFIX}{name.upper()}`" in settings
    files = (DOCS / "reference" / "files.md").read_text()
    assert [reason for reason in FailureReason if f"`{reason}`" not in files] == []


def test_messages_of_the_faq_are_in_the_code() -> None:
    folders = ("inference", "models", "benchmark")
    code = "".join(path.read_text() for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    code = re.sub(r'"\s*f?"', "", code + (ROOT / "Makefile").read_text()).replace("`", "")
    quoted = re.findall(r"^## `(.+)`$", (DOCS / "faq.md").read_text(), re.MULTILINE)
    assert len(quoted) > 10
    assert [message for message in quoted if message not in code] == []


def keys(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_every_key_of_recipes_and_manifests_is_explained() -> None:
    text = (DOCS / "reference" / "bundles.md").read_text()
    told = set(re.findall(r"`([a-z_.]+)`", text))
    recipe = {*keys(Recipe)} - {"ensemble", "networks", "stacking"}
    for part in ("ensemble", "stacking"):
        annotation = Recipe.model_fields[part].annotation
        model = next(
            one
            for one in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(one, type) and issubclass(one, BaseModel)
        )
        recipe |= {f"{part}.{name}" for name in keys(model)}
    network = Recipe.model_fields["networks"].annotation.__args__[0]  # type: ignore[union-attr]
    recipe |= {f"networks.{name}" for name in keys(network)}
    assert recipe | keys(Manifest) <= told


@pytest.fixture(scope="module")
def desk(season: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: what `make demo` leaves, the demo's bundle."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "models").symlink_to(ROOT / "models")
    data = shutil.copytree(season, folder / "demo" / "data")
    data.chmod(0o755)  # a program that root rehearses is nobody
    assert (data / LABELS_NAME).exists()
    return folder


def run_page(page: str, desk: Path) -> list[str]:
    """Run every `sh` block of a page; returns what each command printed.

    What the page says to save as a file is saved: blocks below "Save this as `NAME`" or "in a file `NAME`".
    """
    assert page in RUN
    printed = []
    save_files(DOCS / f"{page}.md", desk)
    for language, block, _ in blocks(DOCS / f"{page}.md"):
        printed += [run_line(line, desk) for line in block.splitlines()] if language == "sh" else []
    return printed


def run_line(line: str, desk: Path) -> str:
    """Run a line of a page; returns what it printed."""
    variables = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    result = subprocess.run(
        shlex.split(line), cwd=desk, env=variables, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, (line, result.stdout, result.stderr)
    return result.stdout + result.stderr


@pytest.mark.e2e
def test_a_card_becomes_a_report_a_package_a_score_and_a_training(desk: Path) -> None:
    printed = run_page("tutorials/card-to-report", desk)
    assert "12 bursts, 2 sites" in printed[1]
    assert all((desk / name).exists() for name in ("metadata.csv", "report.html", "results.csv", "megadetector.json"))
    [package] = run_page("how-to/camtrap-dp", desk)
    assert "12 events -> package" in package
    assert (desk / "package" / "datapackage.json").exists()

    listed, score, report, made, _ = run_page("how-to/labels", desk)
    assert listed == "3 sequences of 12 with 4 labels -> labels.csv\n"
    assert "left out: 9 sequences without labels\n" in score
    assert "over 3 sequences" in score
    assert "12 sequences" in report
    assert "12 bursts" in made
    labels = read_labels(desk / "labels.csv")
    assert [sorted(np.array(LABELS)[row == 1]) for row in labels.values] == [
        ["wildebeest", "zebra"],
        ["empty"],
        ["hyenaspotted"],
    ]
    # The training of the page, with more bursts labelled.
    names = [one.images[0].file_name for one in read_metadata(desk / "card" / "train_metadata.csv").sequences.values()]
    (desk / "found.csv").write_text("\n".join(["file_name,label", *(f"{name},empty" for name in names[1:])]))
    (desk / "schedule.toml").write_text(SCHEDULE)
    [line] = [block for language, block, _ in blocks(DOCS / "how-to" / "labels.md") if language == "console"]
    for words in (
        "hakuna labels found.csv --metadata card/train_metadata.csv --out card/train_labels.csv --force",
        line,
    ):
        run_line(words, desk)
    assert (desk / "runs" / "own" / "network.h5").exists()


@pytest.mark.e2e
def test_a_first_model_is_trained_and_scored(desk: Path) -> None:
    *_, score = run_page("tutorials/first-model", desk)
    assert "over 20 sequences, 95% interval [" in score


@pytest.mark.e2e
def test_first_entries_are_accepted(desk: Path) -> None:
    require([reason] if (reason := why_no_bubblewrap()) else [])
    run_page("tutorials/first-entry", desk)
    for name in ("rehearsal_entry", "rehearsal"):
        report = json.loads((desk / name / "rehearsal.json").read_text())
        assert (report["exit_code"], report["rows"]) == (0, 12)
        assert 0 < report["log_loss"] < 1


@pytest.mark.e2e
def test_entries_are_accepted_under_the_contracts_of_the_page(desk: Path) -> None:
    require([reason] if (reason := why_no_bubblewrap()) else [])
    run_page("how-to/contracts", desk)
    reports = [
        json.loads((desk / f"rehearsal_{name}" / "rehearsal.json").read_text())
        for name in ("drivendata", "folder", "mine")
    ]
    assert [(one["exit_code"], one["rows"]) for one in reports] == [(0, 12)] * 3
    assert [one["smoke_sequences"] for one in reports] == [2, None, 3]
    assert len({one["submission_sha256"] for one in reports}) == 1
    assert (reports[2]["contract"], reports[2]["submission_path"]) == ("mine", "/workspace/out/submission.csv")


def test_the_table_of_contracts_is_that_of_their_files() -> None:
    text = (DOCS / "how-to" / "contracts.md").read_text()
    for path in CONTRACTS_FOLDER.glob("*.toml"):
        one = load_contract(path.stem)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{one.name}`"))
        places = [one.path(name) for name in (one.start, one.code, one.data, one.out)]
        assert re.findall("`(/[^`]+)`", row) == places
        assert f" {one.time_limit / 3600:g} h " in row or f" {one.time_limit:g} s " in row
    assert keys(Contract) <= set(re.findall(r"^\[?([a-z_]+)\]? *(?:=|#|$)", text, re.MULTILINE))


@pytest.mark.e2e
def test_shards_are_joined_and_the_python_of_the_page_runs(desk: Path) -> None:
    run_page("how-to/several-machines", desk)
    [program] = [block for language, block, _ in blocks(DOCS / "reference" / "python.md") if language == "python"]
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=desk, env=environment(), capture_output=True, text=True, check=True, timeout=300
    )  # fmt: skip
    assert result.stdout.splitlines()[-1].startswith("12 (12, 54) 0.")
    merged, whole = (desk / name / "submission.csv" for name in ("merged", "demo_results"))
    assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.slow  # half a minute of starting programs; the other pages go through nearly the same ones
def test_scores_are_compared_as_the_page_says(desk: Path) -> None:
    printed = run_page("how-to/score", desk)
    assert len(printed) == 6
    assert "over 12 sequences, 95% interval [" in printed[1]
    assert "difference +0.000000" in printed[3]
    assert json.loads((desk / "score.json").read_text())["schema_version"] == 1


@pytest.mark.e2e
def test_bundles_are_verified_and_shown_as_the_page_says(desk: Path) -> None:
    assert "intact" in run_page("reference/bundles", desk)[0]


def test_the_trainings_of_the_page_leave_all_networks_of_the_published_recipe(tmp_path: Path) -> None:
    """Each training leaves network.h5 and one network for each size of its schedule (test_train tells so)."""
    page = (DOCS / "how-to" / "train.md").read_text(encoding="utf-8")
    trainings = re.findall(r"hakuna train (\S+) .*?--out runs/(\S+)(?: .*--schedule (\S+))?", page)
    left = {
        f"{name}/{file}"
        for kind, name, schedule in trainings
        for file in (
            "network.h5",
            *(f"network_{size.height}x{size.width}.h5" for size in load_schedule(schedule or DEFAULT_SCHEDULES[NetworkKind(kind)]).sizes),
        )
    }  # fmt: skip
    for place in left:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    found = found_networks(load_recipe("third_place"), tmp_path)
    assert [network.file for network in found] == [
        "v1/network_360x480.h5",
        "v2/network_360x480.h5",
        "v2/network_384x512.h5",
        "background/network.h5",
        "two_branch/network.h5",
    ]


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere() -> None:
    site = ROOT / "build" / "site"
    require([] if site.exists() else ["the site (make site)"])
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.glob("**/*.md")}
    made = {page.relative_to(site) for page in site.glob("**/*.html")}
    assert pages <= made
    for page in made:
        text = (site / page).read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|icon|preload)\"[^>]+href=\"([^\"]+)\"", text)
        assert loaded
        assert [one for one in loaded if "://" in one or one.startswith("//")] == [], page
