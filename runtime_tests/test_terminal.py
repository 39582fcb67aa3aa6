"""The command on a terminal: progress, last lines, how much it prints, colours, shell completion."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.cli.app import PANELS
from inference.bundle.reader import Bundle
from runtime_tests.running import HAKUNA, copy_of, environment, hakuna, hakuna_here
from runtime_tests.tables import rows_of

COLOUR = re.compile(r"\x1b\[(?:\d+;)*[34]\d")
ROWS, COLUMNS = 50, 400
CONTROL = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)")


def on_terminal(*arguments: object, **variables: str) -> tuple[int, str]:
    """Exit code of a command, and all that it sends to the terminal on which it runs."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [sys.executable, str(HAKUNA), *map(str, arguments)]
    variables = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "NO_COLOR": "1", **variables}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment(**variables)) as process:
        os.close(its)
        shown = b""
        with suppress(OSError):  # the program has closed its end
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_terminal_that_goes_away_does_not_end_a_run(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    ours, its = os.openpty()
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out")
    command = [sys.executable, str(HAKUNA), *map(str, words)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment(TERM="xterm")) as process:
        os.close(its)
        shown = b""
        while b"checking the input" not in shown:
            shown += os.read(ours, 1 << 16)
        os.close(ours)
    assert process.returncode == 0
    assert (tmp_path / "out" / "submission.csv").is_file()


def screen(shown: str) -> list[str]:
    """The lines that a terminal has in the end."""
    lines, row, column = [""], 0, 0
    for control, text in CONTROL.findall(shown):
        if control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control.endswith("A"):
            row = max(0, row - int(control[2:-1] or 1))
        elif control.endswith("K"):
            lines[row] = ""
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return [line for line in lines if line]


def found_in(out: Path) -> str:
    """Its sequences by their most probable label, and how many are to be checked, from the files alone."""
    failed = Counter(row["seq_id"] for row in rows_of(out / "failures.csv"))
    names = json.loads((out / "run.json").read_text())["counts"]
    labels, n_to_check = Counter[str](), 0
    for row in rows_of(out / "submission.csv"):
        values = {label: float(value) for label, value in row.items() if label != "seq_id"}
        best = max(values, key=values.__getitem__)
        labels[best] += 1
        n_to_check += values[best] < 0.5
    assert names["sequences_with_priors"] == 0, "no sequence lost all of its photos"
    assert failed
    ordered = sorted(labels.items(), key=lambda one: (-one[1], one[0]))
    return f"{', '.join(f'{n} {label}' for label, n in ordered)}; {n_to_check} to check"


def test_predict_names_its_phases_and_ends_with_what_it_found_where_it_is_and_the_next_command(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out folder"
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", out, "--workers", 2)
    code, shown = on_terminal(*words)
    assert code == 0, shown
    for phase in ("checking the input", "loading the networks", "photos to records"):
        assert phase in shown
    before, _, _ = shown.partition("photos to records")
    assert "0/12" not in before
    assert "%" not in before
    assert not shown.endswith("\x1b[?25l"), "the cursor comes back"
    last = [
        f"{found_in(out)} -> {out}/submission.csv",
        f"{len(rows_of(out / 'failures.csv'))} photos could not be used -> {out}/failures.csv",
        f"next: hakuna report '{out}' --data {season} --out report.html",
    ]
    lines = screen(shown)
    assert lines[-3:] == last
    assert all(line.startswith("warning: ") for line in lines[:-3])
    assert "warning: demo model: not for conclusions (bundle third_place)" in lines

    code, shown = on_terminal(*words, "-v")
    assert code == 0
    lines = screen(shown)
    assert lines[-4:] == ["all sequences were predicted before", *last]
    first, second, third = lines[:-4]
    assert "[info     ] already complete, verified, nothing changed" in first
    assert "[warning  ] demo model: not for conclusions" in second
    assert "photos without their end" in third


def test_a_run_that_its_budget_ends_shows_the_same_last_lines(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path, "--budget", "0.5s")
    code, shown = on_terminal(*words)
    assert code == 6, shown
    *_, demo, degraded, found, hint, following = screen(shown)
    assert demo == "warning: demo model: not for conclusions (bundle third_place)"
    assert degraded.startswith("warning: the time budget was too short for everything: of 12 sequences 0 are predicted")
    assert found == f"0 of 12 sequences predicted -> {tmp_path}/submission.csv"
    assert hint.startswith("hint: the same `hakuna predict` with a larger --budget")
    assert following == f"next: hakuna report {tmp_path} --data {season} --out report.html"


def test_log_lines_stay_above_the_bar(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out", "--no-tta")
    code, shown = on_terminal(*words, "-v")
    assert code == 0
    lines = screen(shown)
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(info|warning) *\] ", line) for line in lines[:-3]), lines
    assert any("] predict " in line for line in lines)


def test_quiet_prints_errors_alone(season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path) -> None:
    run = copy_of(quick_prediction, tmp_path / "run")
    words = ("restack", run, "--bundle", quick_bundle.folder, "--out", tmp_path / "again")
    assert on_terminal(*words, "-q") == (0, "")
    code, shown = on_terminal("restack", tmp_path / "nowhere", "--bundle", quick_bundle.folder, "--out", run, "--quiet")
    assert code == 8
    assert screen(shown) == [
        f"hakuna: {tmp_path}/nowhere: must be a folder with the records of a run, got no such folder"
    ]
    quiet = hakuna_here(*words, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    metadata = hakuna_here("metadata", season, "--out", tmp_path / "m.csv", "-q")
    assert (metadata.returncode, metadata.stdout, metadata.stderr) == (0, "", "")
    score = hakuna_here("score", run / "submission.csv", season / "test_labels.csv", "-q")
    assert "over 12 sequences" in score.stdout, "figures that were asked for"
    score = hakuna_here("score", run / "submission.csv", season / "test_labels.csv", "--json", "-q")
    assert json.loads(score.stdout)["n_sequences"] == 12


def test_in_a_pipe_the_last_event_has_the_exit_code(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out")
    failed = hakuna_here(*words, "--metadata", tmp_path / "none.csv")
    *_, event, message = failed.stderr.splitlines()
    assert failed.returncode == 3
    assert json.loads(event)["exit_code"] == 3
    assert message == f"hakuna: {json.loads(event)['error']}"
    failed = hakuna_here(*words, HAKUNA_WORKERS="many")
    *_, event, message = failed.stderr.splitlines()
    assert failed.returncode == json.loads(event)["exit_code"] == 2
    assert message == f"hakuna: {json.loads(event)['error']}"
    late = hakuna(*words, "--shard", "1/2", "--budget", "0.001s")
    event = json.loads(late.stderr.splitlines()[-1])
    assert late.returncode == 6
    assert (event["event"], event["exit_code"]) == ("failed", 6)
    shard = hakuna_here(*words, "--shard", "1/2")
    event = json.loads(shard.stderr.splitlines()[-1])
    assert (event["event"], event["exit_code"], event["status"]) == ("complete", 0, "shard complete")
    assert event["outputs"] == [str(tmp_path / "out" / name) for name in ("records.jsonl", "run.json")]
    assert all(Path(path).is_file() for path in event["outputs"])


def test_other_commands_leave_nothing_of_their_progress(season: Path, quick_prediction: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    code, shown = on_terminal("report", quick_prediction, "--data", season, "--out", out)
    assert code == 0
    assert "drawing the sequences" in shown
    assert re.search(r"\d+/\d+", shown)
    assert len(screen(shown)) == 2, "the warning, and what was written"
    code, shown = on_terminal("metadata", season, "--out", tmp_path / "m.csv")
    assert code == 0
    assert "reading photos" in shown
    assert screen(shown)[0].startswith("3")
    assert "reading photos" not in " ".join(screen(shown))


def told(*arguments: object, **variables: str) -> str:
    """What a command prints."""
    result = hakuna_here(*arguments, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_no_color_keeps_colours_out_of_tables(quick_bundle: Bundle) -> None:
    assert COLOUR.search(told("bundle", "show", quick_bundle.folder, FORCE_COLOR="1"))
    assert not COLOUR.search(told("bundle", "show", quick_bundle.folder, FORCE_COLOR="1", NO_COLOR="1"))
    assert "\x1b" not in told("bundle", "show", quick_bundle.folder)


@pytest.mark.parametrize("extra", [{}, {"NO_COLOR": "1"}])
def test_no_color_keeps_colours_out_of_the_log(extra: dict[str, str]) -> None:
    script = (
        "import structlog; from inference.settings.logs import configure_logging; configure_logging('console');"
        "structlog.get_logger().warning('hello', n=1)"
    )
    environment = {**os.environ, "FORCE_COLOR": "1", **extra}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "hello" in result.stderr
    assert bool(COLOUR.search(result.stderr)) == (not extra)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("hakuna pre", "predict"), ("hakuna bundle ver", "verify"), ("hakuna export --form", "--format")],
)
def test_bash_completes_verbs_and_options(words: str, expected: str) -> None:
    completed = told(_HAKUNA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert completed.split() == [expected]


def test_commands_are_listed_in_panels_and_studies_are_hidden() -> None:
    shown = told("--help", COLUMNS="200")
    assert "study" not in shown
    panels = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", shown, re.MULTILINE))
    del panels["Options"]
    assert list(panels) == list(PANELS)
    for panel, commands in PANELS.items():
        listed = re.findall(r"^  (\S+)  ", panels[panel], re.MULTILINE)
        assert [command.__name__ for command in commands] == [one for one in listed if one not in {"bundle", "bench"}]
