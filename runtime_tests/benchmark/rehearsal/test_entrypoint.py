"""What the container runs, without a container: `hakuna entrypoint` on a folder with the contract's mounts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from benchmark.rehearsal.entrypoint import find_bundle, run_entrypoint
from benchmark.rehearsal.health import why_unhealthy
from benchmark.rehearsal.settings import ContractSettings
from benchmark.sandbox.run_log import RunLog
from benchmark.sandbox.supervise import catching_signals
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.settings.settings import FOREIGN_VARIABLES, Settings
from runtime_tests.entrants import GOOD, WRITE_SUBMISSION, report, wait_for_log, write_archive, write_data
from runtime_tests.running import HAKUNA, environment, hakuna, hakuna_here, start

STDERR = 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The contract's folders."""
    write_data(tmp_path / "root" / "data")
    (tmp_path / "root" / "submission").mkdir()
    return tmp_path / "root"


def run(root: Path, main: str, **variables: str) -> subprocess.CompletedProcess[str]:
    write_archive(root / "submission" / "submission.zip", main)
    return hakuna("entrypoint", "--root", root, **variables)


def run_here(root: Path) -> int:
    """The same in this process: the exit code that `hakuna entrypoint` hands on."""
    with catching_signals() as signals:
        return run_entrypoint(
            root, budget=60, started=time.monotonic(), scratch=None, demo_bundle=None, signals=signals
        )


def log(root: Path) -> str:
    return (root / "submission" / "log.txt").read_text()


def accepted(root: Path) -> str:
    return (root / "submission" / "submission.csv").read_text()


def test_a_program_runs_where_the_contract_says_and_its_submission_comes_out(root: Path) -> None:
    main = (
        GOOD
        + f"""
import os, sys, importlib.util
print("relative", open("data/x.csv").read().strip())
print("absolute", open({str(root / "data" / "x.csv")!r}).read().strip())
print("folder", os.getcwd(), sys.argv, sys.path[0])
print("ours", [name for name in ("hakuna", "inference", "models", "benchmark") if importlib.util.find_spec(name)])
print("variables", sorted(name for name in os.environ if name.startswith(("HAKUNA", "PYTHONPATH", "USERS", "TF_TOKEN", "TF_VAR", "TF_NUM_INTRA", "CUDA_"))))
import numpy
print("numpy", numpy.__name__)
print("last")
"""
    )
    # Terraform reads its secrets from TF_TOKEN_* and TF_VAR_*.
    own = {"USERS_OWN": "x", "TF_TOKEN_app_terraform_io": "x", "TF_VAR_password": "x", "CUDA_OWN": "x"}
    result = run(root, main, **own, TF_NUM_INTRAOP_THREADS="1", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr + result.stdout
    assert accepted(root).splitlines()[1] == "SER_S1#A01#1#2" + ",0.5" * 54
    lines = log(root).splitlines()
    assert "relative hello from x" in lines
    assert "absolute hello from x" in lines
    assert f"folder {root} ['main.py'] {root}" in lines
    assert "ours []" in lines
    assert "variables ['CUDA_VISIBLE_DEVICES', 'HAKUNA_BUDGET', 'TF_NUM_INTRAOP_THREADS']" in lines
    assert "numpy numpy" in lines
    assert log(root) == result.stdout  # the console has what the log has
    assert report(root / "submission")["verdict"] == "valid"
    assert sorted(one.name for one in root.iterdir()) == ["data", "submission"]


def test_a_root_that_holds_something_is_left_alone(root: Path, tmp_path: Path) -> None:
    (root / "main.py").write_text("raise SystemExit('the wrong program')")
    (tmp_path / "scratch").mkdir()
    main = (
        GOOD
        + f"print(open('data/x.csv').read(), open({str(root / 'data' / 'x.csv')!r}).read())\nimport os; print(os.getcwd())"
    )
    result = run(root, main, HAKUNA_SCRATCH=str(tmp_path / "scratch"))
    assert result.returncode == 0, result.stdout
    assert str(tmp_path / "scratch") in log(root)
    assert (root / "main.py").read_text() == "raise SystemExit('the wrong program')"
    assert list((tmp_path / "scratch").iterdir()) == []  # nothing is left on the disk


# The published entrypoint's four defects (docs/explanation/published.md#contract).


def test_defect_1_the_exit_code_is_not_always_0(root: Path) -> None:
    write_archive(root / "submission" / "submission.zip", GOOD + "raise SystemExit(3)")
    assert run_here(root) == 14
    content = report(root / "submission")
    assert (content["verdict"], content["program_exit_code"]) == ("the program failed", 3)
    assert "main.py: must exit with 0, got 3" in log(root)
    assert not (root / "submission" / "submission.csv").exists()


@pytest.mark.parametrize(
    ("main", "message"),
    [
        ("print('nothing')", "submission.csv: the program must write it, got no such file"),
        (
            WRITE_SUBMISSION + "write_submission('nan')",
            "line 2, column aardvark: must be a number in [0, 1], got 'nan'",
        ),
        ("open('submission.csv', 'w').write('anything')", "line 1: must have the columns of the submission format"),
    ],
)
def test_defect_2_not_any_submission_is_accepted(main: str, message: str, root: Path) -> None:
    (root / "submission" / "submission.csv").write_text("an older one")
    write_archive(root / "submission" / "submission.zip", main)
    assert run_here(root) == 12
    assert message in log(root)
    assert accepted(root) == "an older one"


@pytest.mark.parametrize("as_process_1", [False, True])
def test_defect_3_sigterm_reaches_python(as_process_1: bool, root: Path) -> None:
    main = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('told to stop'), sys.exit(0)))\nprint('ready')\ntime.sleep(60)"
    write_archive(root / "submission" / "submission.zip", main)
    command = [sys.executable, str(HAKUNA), "entrypoint", "--root", str(root)]
    if as_process_1:
        if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
            pytest.skip("needs the right to make a process namespace (root)")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *command]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    wait_for_log(root / "submission" / "log.txt", "ready")
    begun = time.monotonic()
    target = process.pid
    if as_process_1:
        target = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    os.kill(target, signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert time.monotonic() - begun < 8
    assert "told to stop" in log(root)
    assert report(root / "submission")["verdict"] == "interrupted"


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_defect_4_nobody_is_asked_about_collisions(root: Path) -> None:
    archive = write_archive(root / "submission" / "submission.zip", GOOD, **{"a.txt": "1"})
    for _ in range(2):  # as a container that is started again
        process = subprocess.Popen(
            [sys.executable, str(HAKUNA), "entrypoint", "--root", str(root)],
            env=environment(),
            stdin=subprocess.PIPE,  # never answers, never ends
            stdout=subprocess.DEVNULL,
        )
        assert process.wait(timeout=60) == 0
        process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("a.txt", "2")
    assert run_here(root) == 12
    assert "'a.txt' must be in the archive once" in log(root)


def test_a_submission_that_the_archive_brings_does_not_count(root: Path) -> None:
    write_archive(root / "submission" / "submission.zip", "print('idle')", **{"submission.csv": "from home"})
    assert run_here(root) == 12
    assert "submission.csv came with the archive and was removed" in log(root)
    assert "the program must write it" in log(root)


@pytest.mark.timing
def test_the_time_limit_ends_everything(root: Path) -> None:
    main = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"], start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(60)
"""
    begun = time.monotonic()
    result = run(root, main, HAKUNA_BUDGET="3s")
    assert result.returncode == 13
    assert time.monotonic() - begun < 15
    child = int(log(root).split("child ")[1].split()[0])
    assert not Path(f"/proc/{child}").exists()
    content = report(root / "submission")
    assert content["verdict"] == "ran past the time limit"
    assert content["budget_seconds"] == 3
    assert "main.py: must end within 3 s of the start, was stopped" in log(root)
    assert "the run has failed" in (why_unhealthy(root / "submission") or "")


def test_an_archive_that_leaves_its_folder_is_refused(root: Path) -> None:
    archive = root / "submission" / "submission.zip"
    write_archive(archive, GOOD, **{"../../escaped.txt": "x"})
    assert run_here(root) == 12
    assert "member '../../escaped.txt': its path must not have '..'" in log(root)
    assert not list(root.parent.rglob("escaped.txt"))


@pytest.mark.e2e
def test_without_an_archive_the_bundle_predicts_with_the_bytes_of_predict(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "submission").mkdir(parents=True)
    (root / "data").symlink_to(season)
    (root / "models").symlink_to(quick_bundle.folder)
    result = hakuna("entrypoint", "--root", root)
    assert result.returncode == 0, result.stdout
    assert '"event": "predict"' in log(root)
    assert why_unhealthy(root / "submission") is None
    assert hakuna_here("health", "--folder", root / "submission").returncode == 0
    for name in ("submission.csv", "failures.csv"):
        assert (root / "submission" / name).read_bytes() == (quick_prediction / name).read_bytes()


def test_which_bundle_predicts(root: Path, quick_bundle: Bundle) -> None:
    result = hakuna_here("entrypoint", "--root", root)
    assert result.returncode == 4
    assert "models: must hold a model bundle, got none" in log(root)
    # The metadata are missing, so this ends with 3, after the bundle was chosen.
    result = hakuna_here("entrypoint", "--root", root, HAKUNA_DEMO_BUNDLE=str(quick_bundle.folder))
    assert result.returncode == 3
    assert log(root).count("demo model: not for conclusions") == 1
    assert f"no bundle is mounted at {root / 'models'}: this is {quick_bundle.folder}" in log(root)
    assert "test_metadata.csv: must be a readable CSV file" in log(root)
    models = root / "models"
    with RunLog(root / "submission" / "log.txt", STDERR, fresh=True) as said:
        for name in ("one", "two"):
            (models / name).mkdir(parents=True)
            shutil.copy(quick_bundle.path("manifest.json"), models / name)
            if name == "one":
                assert find_bundle(models, quick_bundle.folder, said) == models / "one"
        with pytest.raises(BundleError, match="must hold one bundle, got .'one', 'two'."):
            find_bundle(models, None, said)
        shutil.copy(quick_bundle.path("manifest.json"), models)
        assert find_bundle(models, None, said) == models


def test_a_mount_that_is_missing_is_named(tmp_path: Path) -> None:
    result = hakuna_here("entrypoint", "--root", tmp_path)
    assert result.returncode == 3
    assert "data: must be a folder with photos and CSV files" in result.stderr
    (tmp_path / "data").mkdir()
    result = hakuna_here("entrypoint", "--root", tmp_path)
    assert result.returncode == 5
    assert "submission: must be a folder that user" in result.stderr


def test_settings_of_the_container_are_checked_and_known_to_predict(root: Path) -> None:
    result = hakuna_here("entrypoint", "--root", root, HAKUNA_BUGDET="8h")
    assert result.returncode == 2
    assert "HAKUNA_BUGDET" in result.stderr
    result = hakuna_here("entrypoint", "--root", root, HAKUNA_BUDGET="soon")
    assert result.returncode == 2
    assert "HAKUNA_BUDGET: must be a duration" in result.stderr
    names = {f"HAKUNA_{name.upper()}" for name in ContractSettings.model_fields if name not in Settings.model_fields}
    assert names <= FOREIGN_VARIABLES


def test_a_run_is_healthy_while_its_heart_beats(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    assert "must be a readable heartbeat" in (why_unhealthy(tmp_path) or "")
    for content in ("[]", '{"stage": []}', '{"stage": null}', "{}", "[" * 100_000):
        status.write_text(content)
        assert "must be a readable heartbeat" in (why_unhealthy(tmp_path) or "")
    status.write_text('{"stage": "photos to records"}')
    now = status.stat().st_mtime
    assert why_unhealthy(tmp_path, now + 59) is None
    assert "must be at most 60 s old, got 61 s in stage 'photos to records'" in (
        why_unhealthy(tmp_path, now + 61) or ""
    )
    assert "got -61 s in stage" in (why_unhealthy(tmp_path, now - 61) or ""), "the clock was set back since"
    for stage in ("complete", "out of time"):
        status.write_text(json.dumps({"stage": stage}))
        assert why_unhealthy(tmp_path, now + 1e6) is None
    status.write_text('{"stage": "interrupted"}')
    assert "the run was interrupted" in (why_unhealthy(tmp_path, now) or "")
    result = hakuna_here("health", "--folder", tmp_path)
    assert result.returncode == 1
    assert "the run was interrupted" in result.stderr


def test_an_archive_that_runs_is_healthy(root: Path) -> None:
    write_archive(root / "submission" / "submission.zip", "import time\nprint('ready')\ntime.sleep(60)")
    process = start("entrypoint", "--root", root)
    wait_for_log(root / "submission" / "log.txt", "ready")
    assert why_unhealthy(root / "submission") is None
    locked = hakuna_here("entrypoint", "--root", root)
    assert locked.returncode == 7
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
