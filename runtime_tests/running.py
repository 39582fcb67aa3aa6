"""The command `hakuna`, and runs of the whole pipeline in this process with the defaults of the command line."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO
from unittest import mock

import hakuna as command
from inference.api.jobs import build_job
from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, EngineName, Precision
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import local_executor
from inference.process.lock import locked
from inference.process.progress import Progress
from inference.run.context import ExecutorFactory
from inference.run.pipeline import predict
from runtime_tests.schemas import assert_valid

HAKUNA = Path(command.__file__)
"""The program of this checkout."""
SECONDS = 300.0
"""After which a command is taken for hung."""


def environment(**variables: str) -> dict[str, str]:
    """Of this process, with further variables and with our packages from this checkout."""
    search_path = os.pathsep.join(filter(None, [str(HAKUNA.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": search_path, **variables}


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start the command `hakuna`, with further variables of the environment."""
    return subprocess.Popen(
        [sys.executable, str(HAKUNA), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )


def hakuna(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command `hakuna` in a process of its own."""
    process = start(*arguments, **variables)
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def hakuna_here(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command `hakuna` in this process, where the process is not what the test is about.

    Libraries are imported already. A time budget would count from the beginning of the tests.
    """
    out, err = io.StringIO(), io.StringIO()
    words = ["hakuna", *map(str, arguments)]
    return subprocess.CompletedProcess(words, _run_here(words, variables, out, err), out.getvalue(), err.getvalue())


def printed_here(*arguments: object, **variables: str) -> str:
    """The same with both streams in one, in their order, and with the lines of libraries and of child processes."""
    with TemporaryFile("w+", buffering=1, encoding="utf-8") as both:
        with ExitStack() as restored:
            for descriptor in (1, 2):
                before = os.dup(descriptor)
                restored.callback(os.close, before)
                restored.callback(os.dup2, before, descriptor)
                os.dup2(both.fileno(), descriptor)
            _run_here(["hakuna", *map(str, arguments)], variables, both, both)
        both.seek(0)
        return both.read()


def _run_here(words: list[str], variables: dict[str, str], out: TextIO, err: TextIO) -> int:
    """The exit code."""
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, variables),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            command.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def job_for(data: Path, bundle: Bundle, *, flip_tta: bool = True) -> Job:
    """What `hakuna predict DATA --bundle BUNDLE` computes."""
    return build_job(data, bundle, flip_tta=flip_tta)


def run(
    data: Path,
    bundle: Bundle,
    out: Path,
    *,
    batch_size: int = 8,
    n_workers: int = 2,
    flip_tta: bool = True,
    fresh: bool = False,
    features: Path | None = None,
    engine: EngineName = EngineName.AUTO,
    precision: Precision = Precision.FLOAT32,
    decoder: DecoderName = DecoderName.AUTO,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """`hakuna predict DATA --bundle BUNDLE --out OUT`; returns `run.json`."""
    job = replace(job_for(data, bundle, flip_tta=flip_tta), engine=engine, precision=precision, decoder=decoder)
    options = RunOptions(n_workers=n_workers, batch_size=batch_size, fresh=fresh, features_path=features)
    return run_job(job, out, options, on_progress)


def run_job(
    job: Job,
    out: Path,
    options: RunOptions | None = None,
    on_progress: Progress | None = None,
    executor_for: ExecutorFactory = local_executor,
) -> dict[str, Any]:
    """A job in this process, whose files fit their schemas; returns `run.json`."""
    with locked(out) as output:
        report = predict(
            job, output, options or RunOptions(n_workers=2), on_progress or ignore_progress, executor_for=executor_for
        )
    assert_valid(out)
    return report


def copy_of(prediction: Path, out: Path) -> Path:
    """A finished run that a test may change, in a folder of its own."""
    return Path(shutil.copytree(prediction, out, dirs_exist_ok=True))


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ignore_progress(n_done: int, n_all: int) -> None:
    """Nobody watches."""
