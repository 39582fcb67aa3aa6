"""`hakuna doctor`: tests whether this machine can do everything that runs need."""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmark.capacity.device_profiles import Profile
from inference.core.choices import GPU_DRIVER, EngineName
from inference.core.errors import BundleError, HakunaError, LockedError, OutputError, UnusableGpuError, UsageError
from inference.process.children import ending, launched, module_command, module_environment
from inference.process.lock import check_unlocked
from inference.settings.packages import how_to_install, is_installed

PYTHONS = ((3, 11), (3, 12))
TENSORFLOW = "2.19"
FLOORS = {
    "pillow": ("13.0.0", "CVE-2026-112403"),
    "nvidia-dali-cuda120": ("2.3.0", "CVE-2026-65147/65148"),
    "ray": ("2.52", "known vulnerabilities before"),
}
"""Oldest safe versions, with the reason; packages that are not installed are skipped."""
NEEDED = ("numpy", "opencv-python-headless", "simplejpeg", "lightgbm", "protobuf", "pydantic")
CUDNN_PACKAGE = "nvidia-cudnn-cu12"
FIRST_CUDNN_WITHOUT_VOLTA = "9.11"
VOLTA = (7, 0)
VOLTA_NAMES = re.compile(r"\b(V100|TITAN V|GV100)")
CUDA_13 = re.compile(r"-cu(da)?13\d?$")
NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")
CHILD_SECONDS = 180.0
MAX_GOLDEN_DIFFERENCE = 2e-6
"""Largest difference of a float32 prediction from one computed in float64: a few units of its last place."""
LAST_WORDS = 300


class CheckResult(StrEnum):
    """Result of a check."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """A completed check."""

    name: str
    outcome: CheckResult
    found: str
    exit_code: int = HakunaError.exit_code
    """Exit code for its failure."""


@dataclass(frozen=True)
class Card:
    """A graphics card."""

    name: str
    compute_capability: tuple[int, ...] | None = None

    @property
    def is_volta(self) -> bool:
        """Whether it is a V100 or similar, by its compute capability or, failing that, by its name."""
        return self.compute_capability == VOLTA or bool(VOLTA_NAMES.search(self.name))


def examine(*, gpu: bool, folders: Mapping[str, Path]) -> list[Check]:
    """Every check, in order; `folders` maps purposes to folders that must be writable."""
    installed = {one.name.lower().replace("_", "-"): one.version for one in distributions()}
    checks = list(check_versions(installed, sys.version_info[:2]))
    cards = _cards_of_driver()
    engines = [name for name in (EngineName.OPENVINO, EngineName.TENSORFLOW) if is_installed(name)]
    for engine in engines:
        facts, complaint = run_child("benchmark.selftest.convolution", engine.value)
        checks += convolution_checks(engine, facts, complaint)
        cards += [Card(one["name"], tuple(one["compute_capability"])) for one in facts if one.get("compute_capability")]
        checks += [build for one in facts[:1] if (build := check_build(one.get("build", {})))]
    usable = any(check.name.endswith("GPU") and check.outcome is CheckResult.OK for check in checks)
    checks += check_cards(cards, installed, gpu=gpu, usable=usable)
    with tempfile.TemporaryDirectory(prefix="hakuna-doctor-") as folder:
        facts, complaint = run_child("benchmark.selftest.golden_prediction", folder, *[one.value for one in engines])
    checks += golden_checks(engines, facts, complaint)
    checks += [check_folder(purpose, path) for purpose, path in folders.items()]
    return checks


def examine_fully(
    checks: list[Check],
    *,
    gpu: bool,
    bundle: Path | None,
    data: Path | None,
    profile: Profile | None,
    scratch: Path,
    command: str,
) -> dict[str, Any]:
    """Measure everything that `benchmark.selftest.gpu_check` does and add a check for each part; returns the figures.

    Where a GPU is wanted and networks cannot use it, only the decoders are measured; nothing without a driver.
    """
    code = UnusableGpuError.exit_code
    is_unusable = gpu and any(one.exit_code == code and one.outcome is CheckResult.FAILED for one in checks)
    if is_unusable and not GPU_DRIVER.exists():
        checks.append(Check("full", CheckResult.SKIPPED, f"needs an NVIDIA driver ({GPU_DRIVER})"))
        return {}
    from benchmark.selftest.gpu_check import check_on

    with tempfile.TemporaryDirectory(prefix="hakuna-doctor-", dir=scratch) as folder:
        try:
            figures = check_on(
                gpu=gpu,
                bundle=bundle,
                data=data,
                profile=profile,
                work=Path(folder),
                command=command,
                decoders_only=is_unusable,
            )
        except ImportError as error:
            raise UsageError(
                "--full: must have --bundle where TensorFlow is missing", hint=how_to_install("train")
            ) from error
    failed = figures["failed"]
    checks += [
        Check(f"full: {name}", CheckResult.FAILED, failed[name]["message"], failed[name]["exit_code"])
        if name in failed
        else Check(f"full: {name}", CheckResult.OK, "measured")
        for name in {**figures["parts"], **failed}
    ]
    return figures


def exit_code(checks: list[Check]) -> int:
    """0 if nothing failed; otherwise the most specific code: the GPU's, another failure's, or 1."""
    codes = {check.exit_code for check in checks if check.outcome is CheckResult.FAILED}
    if UnusableGpuError.exit_code in codes:
        return UnusableGpuError.exit_code
    return min(codes - {HakunaError.exit_code}, default=max(codes, default=0))


def check_versions(installed: Mapping[str, str], python: tuple[int, ...]) -> Iterator[Check]:
    """Check Python and packages against the required, the safe and the V100-compatible versions."""
    allowed = " or ".join(".".join(map(str, one)) for one in PYTHONS)
    yield _check("Python", python in PYTHONS, f"{platform.python_version()}, must be {allowed}")
    tensorflow = installed.get("tensorflow") or installed.get("tensorflow-cpu")
    if tensorflow is None and "openvino" in installed:
        found = "none; needed for training, `bundle import`, `bundle build`, GPUs and `--engine tensorflow`: extra train or gpu"
        yield Check("tensorflow", CheckResult.SKIPPED, found)
    else:
        found = f"{tensorflow or 'none'}, must be {TENSORFLOW}: the last whose CUDA libraries run on a V100"
        yield _check("tensorflow", tensorflow is not None and _version(tensorflow)[:2] == _version(TENSORFLOW), found)
    for name in NEEDED:
        yield _check(name, name in installed, installed.get(name, "none, must be installed"))
    for name, (floor, reason) in FLOORS.items():
        version = installed.get(name)
        if version:
            yield _check(name, _version(version) >= _version(floor), f"{version}, must be >= {floor}: {reason}")
        elif name == "pillow":
            yield _check(name, False, f"none, must be >= {floor}")
    too_new = ", ".join(sorted(name for name in installed if CUDA_13.search(name)))
    found = f"{too_new}: must be built for CUDA 12, as CUDA 13 has no sm_70" if too_new else "none for CUDA 13"
    yield _check("CUDA packages", not too_new, found)


def check_build(build: Mapping[str, str]) -> Check | None:
    """Check the CUDA version that TensorFlow was built for; None if it was built without CUDA."""
    version = build.get("cuda_version")
    if not version:
        return None
    return _check("TensorFlow's CUDA", _version(version)[0] == 12, f"{version}, must be 12: CUDA 13 has no sm_70")  # noqa: PLR2004


def check_cards(cards: list[Card], installed: Mapping[str, str], *, gpu: bool, usable: bool) -> Iterator[Check]:
    """Check the cards that the driver and TensorFlow see, and the libraries for running them."""
    names = sorted({card.name for card in cards})
    cudnn = installed.get(CUDNN_PACKAGE)
    code = UnusableGpuError.exit_code
    for name in sorted({card.name for card in cards if card.is_volta}):
        if cudnn:
            fits = _version(cudnn) < _version(FIRST_CUDNN_WITHOUT_VOLTA)
            found = f"{CUDNN_PACKAGE} {cudnn}, must be at most 9.10 for {name}: 9.11 dropped every sm_70 kernel"
            yield _check("cuDNN for Volta", fits, found, code)
    if gpu:
        must = f"must {'' if usable else 'be available and '}run a convolution in TensorFlow"
        yield _check("GPU", usable, f"{', '.join(names) or 'no card'}, {must}", code)
    else:
        shown = ", ".join(names) or "no NVIDIA driver" if names or not GPU_DRIVER.exists() else "a driver, but no card"
        yield Check("GPU", CheckResult.OK if usable else CheckResult.SKIPPED, f"{shown}; --gpu requires it", code)


def convolution_checks(engine: EngineName, facts: list[dict[str, Any]], complaint: str | None) -> Iterator[Check]:
    """One check for every device that answered, and one if the engine died on the next."""
    for one in facts:
        exact = one["largest_difference"] == 0
        found = f"{one['name'] or one['device']}, must be exact, largest difference {one['largest_difference']:g}"
        yield _check(f"convolution, {engine.value}, {one['device']}", exact, found)
    if complaint:
        yield _check(f"convolution, {engine.value}", False, complaint)


def golden_checks(engines: list[EngineName], facts: list[dict[str, Any]], complaint: str | None) -> Iterator[Check]:
    """One check for every engine."""
    differences = {one["engine"]: one["largest_difference"] for one in facts}
    for engine in engines:
        difference = differences.get(engine.value)
        if difference is None:
            found, fits = complaint or "no answer", False
        else:
            found = f"largest difference {difference:.1e}, must be at most {MAX_GOLDEN_DIFFERENCE:g}"
            fits = difference <= MAX_GOLDEN_DIFFERENCE
        yield _check(f"golden prediction, {engine.value}", fits, found, BundleError.exit_code)


def check_folder(purpose: str, path: Path) -> Check:
    """Write a file, make it durable and lock it, like a run."""
    name = f"{purpose} folder"
    if not path.is_dir():
        return _check(name, False, f"{path}: must be a folder", OutputError.exit_code)
    try:
        with tempfile.NamedTemporaryFile(prefix=".hakuna-doctor-", dir=path) as file:
            file.write(b"writable\n")
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        check_unlocked(path)
        free = shutil.disk_usage(path).free
    except LockedError:
        return _check(name, True, f"{path}: writable, in use by a run")
    except OSError as error:
        return _check(name, False, f"{path}: must be writable, got: {error.strerror or error}", OutputError.exit_code)
    return _check(name, True, f"{path}: writable, {free / 2**30:.1f} GiB free")


def run_child(module: str, *arguments: str) -> tuple[list[dict[str, Any]], str | None]:
    """Run a module of this project in a child process; returns its JSON lines and, if it died, how."""
    try:
        result = subprocess.run(  # noqa: S603  # this very interpreter
            launched(module_command(module, *arguments)),
            check=False,
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            env=module_environment(),
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer within {CHILD_SECONDS:g} s"
    facts = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    if result.returncode == 0:
        return facts, None
    return facts, f"{ending(result.returncode)}: {result.stderr.strip()[-LAST_WORDS:]}"


def _cards_of_driver() -> list[Card]:
    """Cards reported by the kernel module, whether or not a library can use them."""
    cards = []
    for path in sorted(NVIDIA_CARDS.glob("*/information")):
        model = re.search(r"^Model:\s*(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        cards.append(Card(model.group(1).strip() if model else "an NVIDIA card"))
    return cards


def _check(name: str, holds: bool, found: str, exit_code: int = HakunaError.exit_code) -> Check:
    return Check(name, CheckResult.OK if holds else CheckResult.FAILED, found, exit_code)


def _version(text: str) -> tuple[int, ...]:
    """The numbers at the start of a version."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match.group().split("."))) if match else ()
