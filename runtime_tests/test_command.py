"""The command as users call it: exit codes, messages, help."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmark.cli import report
from benchmark.cli import score as score_module
from benchmark.cli.app import app
from benchmark.rehearsal.settings import ContractSettings
from benchmark.report.content import Sources
from benchmark.scoring import bootstrap
from inference.bundle.reader import Bundle
from inference.core.errors import HakunaError
from inference.core.labels import EPSILON
from inference.dataset import bursts
from inference.export import export
from inference.settings.settings import Settings
from runtime_tests.exports import PROJECT
from runtime_tests.faults.damage import photos
from runtime_tests.running import copy_of, environment, hakuna, hakuna_here
from runtime_tests.tables import rows_of, submission_rows

SCRIPT = Path(sys.executable).parent / "hakuna"
"""The program as it is installed."""


def assert_ends(arguments: tuple[object, ...], code: int, message: str) -> None:
    """The same without a process of its own: `hakuna.main` makes exit codes and messages of these exceptions, and of no others."""
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "400"})
    if isinstance(result.exception, HakunaError):
        found, said = result.exception.exit_code, str(result.exception)
    else:
        assert isinstance(result.exception, SystemExit), (arguments, result.exception)
        found, said = result.exit_code, result.output
    assert (found, message in said) == (code, True), (arguments, said)


def test_an_error_becomes_its_exit_code_and_a_line(tmp_path: Path) -> None:
    result = hakuna("bundle", "verify", tmp_path)
    assert result.returncode == 4
    line, hint = result.stderr.splitlines()
    assert line.startswith(f"hakuna: {tmp_path}")
    assert hint.startswith("hint: ")


def test_a_closed_standard_error_changes_no_exit_code(tmp_path: Path) -> None:
    arguments = [str(SCRIPT), "bundle", "verify", str(tmp_path)]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *arguments], capture_output=True, check=False, timeout=60
    )
    assert closed.returncode == 4
    reader, writer = os.pipe()
    os.close(reader)
    broken = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=writer, check=False, timeout=60)
    os.close(writer)
    assert broken.returncode == 4


def test_it_prints_its_version() -> None:
    result = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True, env=environment())
    assert result.stdout == f"hakuna {version('hakuna-runtime')}\n"


@pytest.mark.timing
def test_help_answers_within_300_ms() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        result = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True, env=environment())
        assert "predict" in result.stdout
        return time.perf_counter() - start

    seconds()  # the first call compiles
    assert statistics.median(seconds() for _ in range(5)) < 0.3


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


HAKUNA_COMMAND = typer.main.get_command(app)
COMMANDS = dict(commands(HAKUNA_COMMAND))
HEAVY = ["tensorflow", "keras", "openvino", "nvidia", "lightgbm", "cv2", "matplotlib", "jinja2"]
PROBE = f"""
import resource, sys, hakuna
try:
    hakuna.main()
finally:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print(spent.ru_utime + spent.ru_stime, *(one for one in {HEAVY} if one in sys.modules))
"""
LIBRARIES = """
import resource, numpy, pydantic, structlog, typer
spent = resource.getrusage(resource.RUSAGE_SELF)
print(spent.ru_utime + spent.ru_stime)
"""
"""What a refusal cannot do without, as a measure of the machine: 0.27 s of CPU where a refusal may take 0.4 s."""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples_that_can_be_copied(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "60"})
    assert shown.exit_code == 0
    examples = re.findall(r"^ +(hakuna .+)$", shown.output.partition("Examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        assert f"    {example}\n" in f"{COMMANDS[words].help}\n", "must not be wrapped"
        called: list[dict[str, Any]] = []
        monkeypatch.setattr(COMMANDS[words], "callback", lambda called=called, **options: called.append(options))
        with suppress(typer.BadParameter):  # a folder that is not there
            HAKUNA_COMMAND.main(shlex.split(example)[1:], standalone_mode=False)
            assert called


def options_of(words: tuple[str, ...]) -> list[Any]:
    return [one for one in COMMANDS[words].params if one.param_type_name == "option" and one.name != "help"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_shows_its_default(words: tuple[str, ...]) -> None:
    """Flags are off; other options are required, or their default is in brackets or in the text."""
    shown = "".join(CliRunner().invoke(app, [*words, "--help"]).output.split())  # lines are broken at hyphens too
    for option in options_of(words):
        is_flag = option.is_flag and not option.secondary_opts
        assert option.help, option.name
        assert "".join(option.help.split()) in shown, option.name
        assert is_flag or option.required or option.default is not None or "default" in option.help.lower(), option.name
    assert shown.count("[default:") == sum(
        not one.required and one.default is not None and not (one.is_flag and not one.secondary_opts)
        for one in options_of(words)
    )


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_summaries_are_whole(columns: int) -> None:
    groups = {words[:-1] for words in COMMANDS}
    shown = {
        words: "".join(CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(columns)}).output.split())
        for words in groups
    }
    for words, command in COMMANDS.items():
        paragraph = command.help.partition("\n\n")[0].replace("\n", " ")
        sentence = re.match(r".*?\.(?= |$)", paragraph)
        assert sentence, words
        assert f"{words[-1]}{''.join(sentence[0].split())}" in shown[words[:-1]]


def test_every_command_can_be_quiet_or_verbose() -> None:
    for words in COMMANDS:
        names = {name for option in options_of(words) for name in option.opts}
        assert {"-q", "--quiet", "-v", "--verbose"} <= names
    assert_ends(("health", "-q", "-v"), 2, "-v, -q: must not both be given")


REFUSALS = {
    "--help": "Classify:",
    "predict --help": "Examples:",
    "bench stages --help": "Examples:",
    "predict": "Missing argument",
    "predict data --bundle b --out out --budget soon": "must be a duration",
    "predict data --bundle b --out out --shard 3/2": "--shard: must be I/N",
    "plan nowhere --bundle nowhere --out out": "nowhere: must be a folder with photos, got no such folder",
    "plan . --bundle nowhere --out out": "nowhere: must be the folder of a model bundle, got no such folder",
    "restack nowhere --bundle . --out out": "nowhere: must be a folder with the records of a run, got no such folder",
    "merge nowhere --bundle . --out out": "nowhere: must be a folder with the records of a run, got no such folder",
    "export nowhere --format long-csv --out out": "must be the output folder of a finished run, got no such folder",
    "report nowhere --out out": "must be the output folder of a finished run, got no such folder",
    "score nowhere nowhere": "must be a readable CSV file",
    "metadata nowhere --out out": "must be a folder with photos or a COCO Camera Traps file, got nothing of that name",
    "synth / --contact-sheet page.png": "must be new, empty or an earlier output",
    "bundle verify nowhere": "nowhere: must be the folder of a model bundle, got no such folder",
    "bundle import nowhere --recipe third_place --out out": "nowhere: must be the folder with the networks and boosters",
    "bundle import . --recipe unknown --out out": "--recipe unknown",
    "train frames data --train 1 --valid S2 --out out": "--train: must be seasons such as S1,S2,S3",
    "bench project season11 --budget soon": "must be a duration",
    "bench project unknown": "WORKLOAD unknown",
    "bench stages --compare nowhere": "must be a readable report",
    "bench decoders nowhere": "does not exist",
}


@pytest.mark.timing
@pytest.mark.parametrize("line", REFUSALS)
def test_help_and_refusals_take_no_heavy_library_and_little_time(line: str, tmp_path: Path) -> None:
    spent, bare = [], []
    for _ in range(3):  # other programs on this machine slow both down
        bare.append(float(subprocess.check_output([sys.executable, "-c", LIBRARIES])))
        command = [sys.executable, "-c", PROBE, *line.split()]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
        assert REFUSALS[line] in result.stdout + result.stderr
        seconds, *loaded = result.stdout.splitlines()[-1].split()
        assert loaded == []
        spent.append(float(seconds))
        if min(spent) < 1.5 * min(bare):
            break
    assert min(spent) < 1.5 * min(bare), "seconds of CPU"


def test_predict_and_score_from_the_command_line(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    result = hakuna("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out", "--workers", 2)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert "demo model: not for conclusions" in [event["event"] for event in events]
    assert events[-1] == {
        "event": "complete",
        "status": "complete",
        "counts": json.loads((tmp_path / "out" / "run.json").read_text())["counts"],
        "outputs": [str(tmp_path / "out" / name) for name in ("submission.csv", "failures.csv", "run.json")],
        "exit_code": 0,
        "level": "info",
        "timestamp": events[-1]["timestamp"],
    }

    labels = season / "test_labels.csv"
    result = hakuna_here("score", tmp_path / "out" / "submission.csv", labels, "--json")
    assert result.returncode == 0, result.stderr
    score = json.loads(result.stdout)
    assert score["n_sequences"] == 12
    assert 0 < score["log_loss"] < 1
    limit = json.loads(result.stdout)["log_loss"]
    for factor, code in ((1.01, 0), (0.99, 11)):
        gate = hakuna_here("score", tmp_path / "out" / "submission.csv", labels, "--max-log-loss", factor * limit)
        assert gate.returncode == code, gate.stderr
        assert ("must not be exceeded, got a mean of" in gate.stderr) == bool(code)
    result = hakuna_here("score", tmp_path / "out" / "submission.csv", labels)
    assert f"mean log loss {score['log_loss']:.6f} over 12 sequences" in result.stdout
    result = hakuna_here("score", tmp_path / "out" / "submission.csv", labels, "--compare", labels)
    assert (
        f"first ({tmp_path / 'out' / 'submission.csv'}) {score['log_loss']:.6f}, second ({labels}) 0." in result.stdout
    )

    result = hakuna_here("restack", tmp_path / "out", "--bundle", quick_bundle.folder, "--out", tmp_path / "again")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "again" / "submission.csv").read_bytes() == (tmp_path / "out" / "submission.csv").read_bytes()


def test_without_a_format_every_sequence_is_predicted_in_order(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    result = hakuna_here("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path, "--format", "none")
    assert result.returncode == 0, result.stderr
    seq_ids = [line.split(",")[0] for line in (tmp_path / "submission.csv").read_text().splitlines()[1:]]
    assert len(seq_ids) == 12
    assert seq_ids == sorted(seq_ids)


def test_outcomes_have_their_exit_codes_and_messages(season: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle, out = tiny_bundle.folder, tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    train = ("train", "frames", season, "--valid", "S9", "--out", tmp_path / "run")
    stack: tuple[object, ...] = (
        "stack",
        "--valid",
        "S2",
        "--records",
        tmp_path,
        "--labels",
        season / "test_labels.csv",
    )
    stack += ("--recipe", "third_place", "--out", tmp_path / "boosters")
    cases: list[tuple[tuple[object, ...], int, str]] = [
        (("predict", season, "--out", out), 2, "Missing option '--bundle'"),
        (("predict", "--bundle", bundle, "--out", out), 2, "Missing argument 'DATA'"),
        (("predict", season, "--bundle", bundle), 2, "Missing option '--out'"),
        (("predict", season, "--bundle", bundle, "--out", out, "--workers", 0), 2, "--workers: must be"),
        (("predict", season, "--bundle", bundle, "--out", out, "--resize", "half"), 2, "--resize"),
        (("restack", out, "--bundle", bundle, "--out", out, "--no-tta"), 2, "No such option: --no-tta"),
        (("predict", tmp_path / "empty", "--bundle", bundle, "--out", out), 3, "test_metadata.csv: must be a readable"),
        (
            ("predict", tmp_path / "file", "--bundle", bundle, "--out", out),
            3,
            "must be a folder with photos, got a file",
        ),
        (
            (
                "predict",
                tmp_path / "empty",
                "--metadata",
                season / "test_metadata.csv",
                "--bundle",
                bundle,
                "--out",
                out,
            ),
            3,
            "submission_format.csv: must be a readable CSV file, got none",
        ),
        (("predict", season, "--bundle", tmp_path, "--out", out), 4, "manifest.json: must be a readable manifest"),
        (("predict", season, "--bundle", bundle, "--out", tmp_path / "file" / "out"), 5, "must be writable"),
        (
            ("predict", season, "--bundle", bundle, "--out", out, "--features", tmp_path / "file" / "f.npz"),
            5,
            "--features",
        ),
        (("predict", season, "--bundle", bundle, "--out", out, "--budget", "soon"), 2, "must be a duration such as 8h"),
        (("predict", season, "--bundle", bundle, "--out", out, "--shard", "3/2"), 2, "--shard: must be I/N"),
        (
            ("predict", season, "--bundle", bundle, "--out", out, "--features", out / "submission.csv"),
            2,
            "must be a file whose name ends in .npz",
        ),
        (("predict", season, "--bundle", bundle, "--out", out, "--budget", "99999999h"), 2, "--budget: must be"),
        (
            ("predict", season, "--bundle", bundle, "--out", out, "--read-timeout", "9" * 400),
            2,
            "--read-timeout: must be",
        ),
        (
            ("predict", season, "--bundle", bundle, "--out", out, "--max-failures", "5"),
            2,
            "--max-failures: must be a share such as 5% or 0.05, got '5'; did you mean 5%?",
        ),
        (("merge", season, "--bundle", bundle, "--out", out), 8, "records.jsonl: must be readable records"),
        (
            ("restack", tmp_path / "empty", "--bundle", bundle, "--out", out),
            8,
            "records.jsonl: must be readable records",
        ),
        (("bundle", "verify", tmp_path), 4, "manifest.json"),
        (("bundle", "import", tmp_path, "--recipe", "unknown", "--out", tmp_path / "new"), 2, "--recipe unknown"),
        (
            ("bundle", "import", tmp_path, "--recipe", "third_place", "--out", tmp_path / "new"),
            4,
            "31 files, got 31 missing",
        ),
        (("score", season / "test_labels.csv", tmp_path / "nowhere.csv"), 3, "nowhere.csv"),
        (("demo", "--out", tmp_path), 2, "must be new, empty or an earlier demo's"),
        (
            ("bundle", "build", "--recipe", "third_place", "--networks", tmp_path, "--out", tmp_path / "new"),
            4,
            "5 networks, got 5 missing",
        ),
        ((*train, "--train", "1"), 2, "--train: must be seasons such as S1,S2,S3, got '1'"),
        ((*train, "--train", "S1", "--schedule", "slow"), 2, "--schedule slow: must be one of background, two_branch"),
        ((*train, "--train", "S1", "--mean-network", out), 2, "--mean-network: must come with two-branch, got frames"),
        ((*stack, "--train", "S2"), 2, "--train, --valid: must be different seasons, got S2 twice"),
        ((*stack, "--train", "S1"), 8, "records.jsonl: must be readable records"),
    ]
    for arguments, code, message in cases:
        assert_ends(arguments, code, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"], "no folder is left by a refusal"


def test_an_unknown_setting_in_the_environment_is_refused(season: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    result = hakuna_here("predict", season, "--bundle", tiny_bundle.folder, "--out", tmp_path, HAKUNA_WROKERS="2")
    assert result.returncode == 2
    assert "HAKUNA_WROKERS" in result.stderr


def test_bundle_verify_and_show_tell_what_is_in_it(tiny_bundle: Bundle) -> None:
    result = hakuna_here("bundle", "verify", tiny_bundle.folder)
    assert result.returncode == 0
    assert "intact" in result.stdout
    result = hakuna_here("bundle", "show", tiny_bundle.folder, COLUMNS="200")
    assert result.returncode == 0
    for word in ("two_branch", "384x512", "demo model: not for conclusions", "822 features"):
        assert word in result.stdout


MEMORY_PROBE = """
import resource, sys, hakuna
try:
    hakuna.main()
finally:
    print("peak_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(data: Path, bundle: Bundle, out: Path) -> float:
    arguments = ["predict", data, "--bundle", bundle.folder, "--out", out, "--format", "none"]
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert "peak_kb" in result.stdout, result.stderr
    return int(result.stdout.split("peak_kb")[1]) / 1024


def megabytes_above_an_empty_run(n_rows: int, bundle: Bundle, folder: Path) -> float:
    """How much more memory that many rows take than one, of photos all but one of which are missing; all are predicted."""
    peaks = []
    for n in (1, n_rows):
        data = folder / f"data{n}"
        data.mkdir()
        rows = [
            f"SER_S1#A{row % 200:03d}#1#{row},2015-01-01 00:00:00,S1/A{row % 200:03d}/IMG_{row:06d}.JPG"
            for row in range(n)
        ]
        (data / "test_metadata.csv").write_text("\n".join(["seq_id,datetime,file_name", *rows, ""]))
        last = data / rows[-1].split(",")[2]
        last.parent.mkdir(parents=True)
        last.write_bytes(photos()["plain"])
        peaks.append(peak_megabytes(data, bundle, folder / f"out{n}"))
    assert (folder / f"out{n_rows}" / "submission.csv").read_text().count("\n") == n_rows + 1
    return peaks[1] - peaks[0]


@pytest.mark.e2e
@pytest.mark.parametrize(("n_rows", "most_mb"), [(10_000, 40), pytest.param(100_000, 200, marks=pytest.mark.slow)])
def test_many_rows_of_missing_images_need_little_memory(
    n_rows: int, most_mb: float, quick_bundle: Bundle, tmp_path: Path
) -> None:
    """2 kB a sequence, and what the first ones need."""
    assert megabytes_above_an_empty_run(n_rows, quick_bundle, tmp_path) < most_mb


def test_defaults_that_help_shows_are_those_of_the_code() -> None:
    assert cli_default(score_module.score, "epsilon") == EPSILON
    assert cli_default(score_module.score, "resamples") == bootstrap.N_RESAMPLES
    assert cli_default(report.report, "sheets") == Sources().n_sheets
    shown = " ".join(hakuna_here("predict", "--help", COLUMNS="200").stdout.split())
    settings = Settings()
    for name, value in {
        "batch-size": settings.sequences_per_batch, "precision": settings.precision, "decoder": settings.decoder,
        "engine": settings.engine, "log-format": settings.log_format, "max-failures": f"{settings.max_failures:.0%}",
        "read-timeout": f"{settings.read_timeout:g}s", "budget": "no limit" if settings.budget is None else "",
    }.items():  # fmt: skip
        assert re.search(rf"--{name} (?:(?! --).)*[Dd]efault: {value}[.,s]", shown), name
    shown = "".join(hakuna_here("rehearse", "--help").stdout.split())
    assert ContractSettings().budget is None
    assert "fromunpackingtotheprogram'send;default:thecontract's" in shown
    assert f"default:{ContractSettings().image}" in shown
    assert f"default {bursts.GAP_SECONDS:g}" in hakuna_here("metadata", "--help", COLUMNS="200").stdout
    told = hakuna_here("export", "--help", COLUMNS="200").stdout
    assert f"default {export.LISTING_THRESHOLD}, camtrap-dp {export.OBSERVATION_THRESHOLD}" in " ".join(told.split())


def cli_default(command: Callable[..., None], option: str) -> object:
    return inspect.signature(command).parameters[option].default


def test_outputs_that_are_there_are_written_over_only_with_force(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    taken, metadata = tmp_path / "taken", season / "test_metadata.csv"
    project = tmp_path / "project.toml"
    project.write_text(PROJECT)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").touch()
    commands: dict[tuple[object, ...], str] = {
        ("metadata", photos, "--format", tmp_path / "other.csv", "--out", taken): "--out",
        ("metadata", photos, "--out", tmp_path / "other.csv", "--format", taken): "--format",
        ("export", quick_prediction, "--format", "long-csv", "--out", taken): "--out",
        ("export", quick_prediction, "--format", "megadetector", "--metadata", metadata, "--out", taken): "--out",
        ("report", quick_prediction, "--sheets", 0, "--out", taken): "--out",
        ("pack", "--bundle", quick_bundle.folder, "--out", taken): "--out",
        ("synth", taken, "--sequences", 1, "--size", "48x64", "--workers", 1): "OUT",
        ("bundle", "import", season, "--recipe", "third_place", "--out", taken): "--out",
        ("bundle", "build", "--networks", season, "--recipe", "third_place", "--out", taken): "--out",
    }
    for command, option in commands.items():
        taken.write_text("somebody's")
        (tmp_path / "other.csv").unlink(missing_ok=True)
        refused = hakuna_here(*command)
        assert (refused.returncode, refused.stdout) == (2, ""), command
        lines = [
            f"hakuna: {option} {taken}: must not exist yet",
            "hint: choose another name, or overwrite it with --force",
        ]
        assert refused.stderr.splitlines() == lines
        assert taken.read_text() == "somebody's"
        if command[0] in ("synth", "bundle"):
            continue
        forced = hakuna_here(*command, "--force")
        assert forced.returncode == 0, forced.stderr
        assert taken.read_bytes() != b"somebody's"


def test_a_second_card_in_the_same_folder_needs_tables_of_its_own(tmp_path: Path) -> None:
    for card in ("a", "b"):
        (tmp_path / card / "hill").mkdir(parents=True)
        (tmp_path / card / "hill" / "1.jpg").touch()
    assert hakuna_here("metadata", tmp_path / "a", "--out", tmp_path / "a.csv").returncode == 0
    refused = hakuna_here("metadata", tmp_path / "b", "--out", tmp_path / "b.csv")
    assert (refused.returncode, refused.stderr.splitlines()) == (2, [
        f"hakuna: --format was not given; its default {tmp_path}/submission_format.csv: must not exist yet",
        f"hint: name another: --format {tmp_path}/b_format.csv",
    ])  # fmt: skip
    assert not (tmp_path / "b.csv").exists()


def test_seasons_of_metadata_are_those_that_train_asks_for(tmp_path: Path) -> None:
    for site in ("hill", "river"):
        (tmp_path / "photos" / site).mkdir(parents=True)
        (tmp_path / "photos" / site / "1.jpg").touch()
    words = ("metadata", tmp_path / "photos", "--out", tmp_path / "m.csv")
    done = hakuna_here(*words, "--season", "S1", "--season", "S2=./river/")
    assert done.returncode == 0, done.stderr
    ids = [row["seq_id"] for row in rows_of(tmp_path / "m.csv")]
    assert (
        ids
        == ["SER_S1#hill#1#hill/1.jpg", "SER_S2#river#1#river/1.jpg"]
        == list(submission_rows(tmp_path / "submission_format.csv"))
    )
    for season in ("s1", "S1=", "S2=hill"):
        assert_ends(
            (*words, "--force", "--season", "S1", "--season", "S3=hill", "--season", season), 2, "each folder once"
        )


def test_only_labelled_sequences_are_scored_on_request(season: Path, tmp_path: Path) -> None:
    lines = (season / "test_labels.csv").read_text().splitlines()
    labels, submission, other = tmp_path / "labels.csv", season / "test_labels.csv", tmp_path / "other.csv"
    labels.write_text("\n".join([lines[0], *lines[:4:-1]]))
    other.write_text("\n".join(lines[:-1]))
    refused = hakuna_here("score", submission, labels)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        3,
        "hint: --labelled-only scores the labelled sequences alone",
    )
    words = ("score", submission, labels, "--labelled-only")
    done = hakuna_here(*words, "--compare", submission)
    assert "left out: 4 sequences without labels" in done.stdout
    assert "over 8 sequences" in done.stdout
    score = json.loads(hakuna_here(*words, "--json").stdout)
    assert (score["n_sequences"], score["n_without_labels"], round(score["log_loss"], 9)) == (8, 4, 0)
    # Labels that the submission lacks are an error without the option, and have no hint.
    refused = hakuna_here("score", other, labels)
    assert refused.returncode == 3
    assert "1 sequence in the labels alone" in refused.stderr
    assert "hint" not in refused.stderr
    done = hakuna_here("score", other, labels, "--labelled-only")
    assert "left out: labels of 1 sequence without a prediction" in done.stdout


def test_a_folder_is_written_into_with_force(season: Path, quick_prediction: Path, tmp_path: Path) -> None:
    (tmp_path / "project.toml").write_text(PROJECT)
    package = tmp_path / "package"
    words: tuple[object, ...] = (
        *("export", quick_prediction, "--format", "camtrap-dp", "--metadata", season / "test_metadata.csv"),
        *("--project", tmp_path / "project.toml", "--out", package),
    )
    synth = ("synth", tmp_path / "season", "--sequences", 1, "--size", "48x64", "--workers", 1)
    package.mkdir()  # an empty folder is nobody's
    for command in (words, synth):
        assert hakuna_here(*command).returncode == 0
        assert hakuna_here(*command).returncode == 2
        assert hakuna_here(*command, "--force").returncode == 0
    (package / "datapackage.json").unlink()  # somebody's folder
    refused = hakuna_here(*words, "--force")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        f"hakuna: --out {package}: must be new, empty or an earlier output with datapackage.json, got a folder with other files",
        "hint: choose another name",
    ]


def test_a_folder_in_the_place_of_a_file_is_refused_with_and_without_force(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "a.jpg").touch()
    pictures = {
        "a.jpg": b"\xff\xd8\xff\xe0",
        "a.png": b"\x89PNG\r\n",
        "a.heic": b"\0\0\0\x20ftypheic",
        "a.cr2": b"II*\0",
    }
    for name, start in pictures.items():
        (tmp_path / name).write_bytes(start)
    commands: dict[tuple[object, ...], str] = {
        ("metadata", card, "--format", tmp_path / "other.csv"): "--out",
        ("metadata", card, "--out", tmp_path / "other.csv"): "--format",
        ("export", quick_prediction, "--format", "long-csv"): "--out",
        ("export", quick_prediction, "--format", "megadetector", "--metadata", season / "test_metadata.csv"): "--out",
        ("report", quick_prediction): "--out",
        ("pack", "--bundle", quick_bundle.folder): "--out",
        ("synth", tmp_path / "new"): "--contact-sheet",
    }
    for command, option in commands.items():
        for force in ([], ["--force"]):
            taken = card if command[0] != "metadata" else tmp_path
            refused = hakuna_here(*command, option, taken, *force)
            assert refused.returncode == 2, command
            assert refused.stderr.startswith(f"hakuna: {option} {taken}: must be a file to write, got a folder\nhint: ")
            assert "--force" not in refused.stderr
            for name in pictures:
                photo = hakuna_here(*command, option, tmp_path / name, *force)
                assert photo.stderr.startswith(
                    f"hakuna: {option} {tmp_path / name}: must not be a photo or film, got one"
                )
                assert "--force" not in photo.stderr
    for name, start in pictures.items():
        assert_ends(
            ("score", season, season, "--json", tmp_path / name), 2, "must be new or an earlier file of figures"
        )
        assert (tmp_path / name).read_bytes() == start
    assert_ends(("score", season, season, "--json", card), 2, "is a directory")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["a.jpg", "card", *pictures])


def test_figures_never_replace_another_file(season: Path, quick_prediction: Path, tmp_path: Path) -> None:
    labels, metadata = (Path(shutil.copy(season / f"test_{name}.csv", tmp_path)) for name in ("labels", "metadata"))
    run = copy_of(quick_prediction, tmp_path / "run")
    before = {path: path.read_bytes() for path in (labels, metadata, run / "run.json", run / "submission.csv")}
    for path in before:
        words = ("score", run / "submission.csv", labels, "--metadata", metadata, "--json", path)
        refused = hakuna_here(*words)
        assert (refused.returncode, refused.stderr.startswith(f"hakuna: --json {path}: must ")) == (2, True)
    assert {path: path.read_bytes() for path in before} == before
    figures = tmp_path / "score.json"
    for _ in range(2):  # the second time over the first ones
        assert hakuna_here("score", run / "submission.csv", labels, "--json", figures).returncode == 0
    assert json.loads(figures.read_text())["n_sequences"] == 12


def test_a_run_is_not_written_among_its_photos(season: Path, quick_bundle: Bundle) -> None:
    for command in ("predict", "plan"):
        message = f"--out {season}: must be another folder than that of the photos"
        assert_ends((command, season, "--bundle", quick_bundle.folder, "--out", f"{season}/."), 2, message)


def test_missing_folders_of_outputs_are_made(season: Path, quick_prediction: Path, tmp_path: Path) -> None:
    new = tmp_path / "new" / "folder"
    for command in (
        ("metadata", season, "--out", new / "m" / "metadata.csv"),
        ("export", quick_prediction, "--format", "long-csv", "--out", new / "e" / "long.csv"),
        ("report", quick_prediction, "--sheets", 0, "--out", new / "r" / "report.html"),
    ):
        assert hakuna_here(*command).returncode == 0
    assert len(list(new.glob("*/*"))) == 4


def test_hints_name_the_bundle_in_a_folder_and_the_metadata_that_a_report_needs(
    season: Path, quick_prediction: Path, tmp_path: Path
) -> None:
    inside = tmp_path / "models" / "mine"
    inside.mkdir(parents=True)
    (inside / "manifest.json").touch()
    shown = hakuna_here("predict", season, "--bundle", inside.parent, "--out", tmp_path / "out")
    assert (shown.returncode, shown.stderr.splitlines()[-1]) == (4, f"hint: a bundle is in {inside}")
    shown = hakuna_here("report", quick_prediction, "--data", tmp_path, "--out", tmp_path / "report.html")
    hint = f"hint: --metadata names another; hakuna metadata {tmp_path} --out metadata.csv makes one"
    assert (shown.returncode, shown.stderr.splitlines()[-1]) == (3, hint)
    other = tmp_path / "card_b.csv"
    other.write_text((season / "test_metadata.csv").read_text().replace("201", "202"))
    shown = hakuna_here("report", quick_prediction, "--data", season, "--metadata", other, "--out", tmp_path / "x.html")
    assert (shown.returncode, "must have the photos and times that the run" in shown.stderr) == (3, True)
    assert not (tmp_path / "x.html").exists()


def test_metadata_score_export_and_report_tell_what_must_hold(season: Path, tmp_path: Path) -> None:
    labels, out = season / "test_labels.csv", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    cases = [
        (("metadata", tmp_path / "empty", "--out", out), 3, "must be a folder with photos"),
        (("metadata", tmp_path / "nowhere", "--out", out), 3, "got nothing of that name"),
        (("metadata", "x" * 300, "--out", out), 3, "got nothing of that name"),
        (("metadata", labels, "--out", out), 3, "must be JSON"),
        (("metadata", season, "--out", labels / "m.csv"), 5, "must be writable"),
        (("metadata", season, "--out", tmp_path / "submission_format.csv"), 2, "must be different files"),
        (("metadata", labels, "--out", labels), 2, "must be different files"),
        (("metadata", season, "--out", season / "metadata.csv"), 2, "must not exist yet"),
        (("metadata", season, "--out", out, "--max-photos", 0), 2, "--max-photos"),
        (("export", season, "--format", "long-csv", "--out", out), 3, "run.json: must be there"),
        (("export", season, "--format", "megadetector", "--out", out), 2, "--metadata: must be given with"),
        (
            ("export", season, "--format", "camtrap-dp", "--metadata", labels, "--out", out),
            2,
            "--project: must be given",
        ),
        (("export", season, "--format", "xml", "--out", out), 2, "--format"),
        (("report", season, "--out", out), 3, "run.json: must be there"),
        (("report", season, "--data", tmp_path / "empty", "--out", out), 3, "test_metadata.csv"),
        (
            ("report", season, "--data", tmp_path / "nowhere", "--metadata", labels, "--out", out),
            3,
            "must be the folder",
        ),
        (("report", season, "--out", season / "submission.csv"), 2, "must not be the run, or a file that this is made"),
        (
            ("report", season, "--labels", labels, "--out", labels),
            2,
            "must not be the run, or a file that this is made",
        ),
        (("score", labels, labels, "--compare", tmp_path / "nowhere.csv"), 3, "nowhere.csv"),
        (("score", labels, labels, "--sites", labels), 3, "must have the columns seq_id, site"),
        (("score", labels, labels, "--resamples", 3), 2, "--resamples"),
        (("score", labels, labels, "--epsilon", 0), 2, "--epsilon"),
        (("score", labels, labels, "--epsilon", 0.5), 2, "--epsilon"),
    ]
    for arguments, code, message in cases:
        assert_ends(arguments, code, message)
    assert not out.exists()
