"""`hakuna doctor --full`: measures on a GPU everything that a device profile assumes, and whether its answers hold.

Every part runs alone: one that fails is reported, and the others follow. Without a GPU the same code runs on the CPU, as
a rehearsal.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.capacity.device_profiles import PROFILES_FOLDER, Profile, load_profile
from benchmark.capacity.operations import PUBLISHED_BACKBONE
from benchmark.capacity.projection import MEASURED, project
from benchmark.capacity.rates import measured_rates
from benchmark.capacity.validation import IMAGES_PER_CALL, trial_workload
from benchmark.provenance import origin
from benchmark.selftest import complaints
from benchmark.selftest.assumptions import decisions
from benchmark.selftest.demo import BUNDLE_FOLDER
from benchmark.selftest.gpu_watch import gpu_facts, use_order_of_nvidia_smi, watched
from benchmark.timing.decoders import compare_decoders
from benchmark.timing.harness import Harness, PredictCost, n_workers, predict_command, run_predict, time_startup
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.report import BenchReport
from benchmark.timing.stages import all_stages, set_up
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DEFAULT_BATCH_SIZE, GPU_BATCH_SIZE, Device, EngineName, Precision
from inference.core.errors import BundleError, HakunaError
from inference.core.sequences import ImageSize, Probabilities
from inference.execution.executor import LOAD
from inference.execution.job import RunOptions
from inference.outputs.finished_run import read_finished_run
from inference.precision.comparison import compare_precisions
from inference.records.schema import RECORDS_NAME
from inference.run.precision import PROVE
from inference.settings.packages import is_installed

PHOTO = ImageSize(1536, 2048)
SEED = 1
SMALL_SEQUENCES, SMALL_BATCH = 12, 2
"""Of the runs that are compared with each other: several batches."""
REPEATS, QUICK_REPEATS, DECODE_ROUNDS = 5, 1, 3
LONG_SEQUENCES, QUICK_SEQUENCES = 256, 24
"""Of the run whose speed is measured; fewer in a rehearsal."""
MOST_SECONDS = 300.0
"""Of one run: a device that hangs must not take the other measurements with it."""
POLL_SECONDS = 0.02


WRONG_ANSWERS = ("decoders", "answers", "kill and resume")
"""Parts whose complaints are about answers."""
Judged = tuple[dict[str, Any], str | None]
"""Figures ready for JSON, and a complaint about them, or None."""


@dataclass(frozen=True)
class FullCheck:
    """The machine's device, the networks and the photos of a check, and a folder for its files.

    Attributes
    ----------
    gpu : whether the GPU must be used; otherwise this is a rehearsal on the CPU
    data : photos whose answers are compared: those of the user, or drawn ones
    """

    gpu: bool
    bundle: Bundle
    profile: Profile | None
    data: Path
    work: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `hakuna predict` for the device; the rehearsal has the engine of the GPU if it is installed."""
        engine = ("--engine", str(self.engine)) if self.engine is not EngineName.AUTO else ()
        return ("--device", str(self.device), *engine)

    @property
    def device(self) -> Device:
        """Where the networks run."""
        return Device.GPU if self.gpu else Device.CPU

    @property
    def engine(self) -> EngineName:
        """The engine of the networks."""
        return EngineName.TENSORFLOW if is_installed(EngineName.TENSORFLOW) else EngineName.AUTO

    def probabilities(self, name: str) -> Probabilities:
        """The submission of a run."""
        return read_finished_run(self.work / name).predictions.values.astype(np.float32)

    def predict(self, name: str, *options: object, data: Path | None = None) -> tuple[PredictCost, dict[str, Any]]:
        """Run `hakuna predict` in a process of its own; returns its cost and `run.json`."""
        folder, photos = self.bundle.folder, data or self.data
        cost = run_predict(photos, folder, self.work / name, *options, most_seconds=MOST_SECONDS)
        return cost, read_finished_run(self.work / name).run


def full_check(check: FullCheck, command: str, *, decoders_only: bool = False) -> dict[str, Any]:
    """Run every part; returns figures ready for JSON: `parts`, `failed` (message and exit code by part), `decisions`.

    `decoders_only` is for a GPU that networks cannot use.
    """
    timed: list[BenchReport] = []
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[], Any]] = {
        "decoders": partial(_decoders, check, command),
        "answers": partial(_answers, check),
        "kill and resume": partial(_kill_and_resume, check),
        "speed": partial(_speed, check),
        "networks": partial(_networks, check, timed),
        "projection": partial(_projection, check, timed, figures),
        "decisions": partial(_decisions, check, timed),
    }
    failed: dict[str, dict[str, Any]] = {}
    for name, part in list(parts.items())[: 1 if decoders_only else None]:
        try:
            figures[name], complaint = part()
        except Exception as error:  # noqa: BLE001  # whatever it is, the other parts are measured and kept
            code = getattr(error, "exit_code", HakunaError.exit_code)
            failed[name] = {"message": f"{type(error).__name__}: {error}", "exit_code": code}
        else:
            if complaint:
                code = BundleError.exit_code if name in WRONG_ANSWERS else HakunaError.exit_code
                failed[name] = {"message": complaint, "exit_code": code}
    return {
        "what": "a check on a GPU" if check.gpu else "a rehearsal on the CPU: not a measurement of a GPU",
        "gpu": gpu_facts(),
        "profile": check.profile.name if check.profile else None,
        "bundle": check.bundle.manifest.name,
        "decisions": figures.pop("decisions", []),
        "parts": figures,
        "failed": failed,
        **origin(command),
    }


def profile_of(gpu: str) -> Profile | None:
    """The profile of a GPU by the driver's name for it, such as "Tesla V100-SXM2-16GB"."""
    words = gpu.upper().replace("-", " ").split()
    profiles = (load_profile(path.stem) for path in sorted(PROFILES_FOLDER.glob("*.toml")))
    return next((one for one in profiles if set(one.gpus) & set(words)), None)


def write_photos(folder: Path, n_sequences: int) -> Path:
    """Draw a season of large photos, three a sequence."""
    if not folder.exists():
        write_repeated_season(folder, [(PHOTO, 3)] * n_sequences, SEED)
    return folder


def _decoders(check: FullCheck, command: str) -> Judged:
    """Every decoder's pixels and speed."""
    figures = compare_decoders(check.data, command, DECODE_ROUNDS, damage=False)
    return figures, complaints.about_pixels(figures["decoders"])


def _answers(check: FullCheck) -> Judged:
    """The submission of the device beside that of the CPU, in float32 and mixed precision."""
    batch = ("--batch-size", SMALL_BATCH)
    check.predict("cpu", "--device", "cpu", *batch)
    check.predict("device", *check.options, *batch)
    _, mixed = check.predict("mixed", *check.options, *batch, "--precision", "mixed")
    cpu, device, half = (check.probabilities(one) for one in ("cpu", "device", "mixed"))
    bound = check.bundle.manifest.ensemble.max_mixed_loss_increase
    figures = {
        "sequences": len(cpu),
        "largest_difference_in_float32": float(np.abs(device - cpu).max()),
        "largest_difference_in_mixed_precision": float(np.abs(half - device).max()),
        "relative_loss_increase_in_mixed_precision": compare_precisions(device, half, bound).relative_increase,
        "precision": mixed["precision"],
        "bound": bound,
    }
    return figures, complaints.about_answers(figures, supports_mixed="reason" not in mixed["precision"])


def _kill_and_resume(check: FullCheck) -> Judged:
    """Kill a run after its first records; the same command must finish it and keep them byte for byte."""
    out, options = check.work / "killed", (*check.options, "--batch-size", SMALL_BATCH)
    if not (check.work / "device").exists():
        check.predict("device", *options)
    end = time.monotonic() + MOST_SECONDS
    with subprocess.Popen(  # noqa: S603  # this very program
        predict_command(check.data, check.bundle.folder, out, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and _n_lines(out / RECORDS_NAME) < 1 + SMALL_BATCH and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        process.kill()
    before = (out / RECORDS_NAME).read_bytes() if (out / RECORDS_NAME).exists() else b""
    kept = before[: before.rfind(b"\n") + 1]
    check.predict("killed", *options)
    after = (out / RECORDS_NAME).read_bytes()
    figures = {
        "was_killed": process.returncode == -signal.SIGKILL,
        "records_before_the_kill": max(0, kept.count(b"\n") - 1),
        "records_in_all": after.count(b"\n") - 1,
        "records_kept": after.startswith(kept),
        "largest_difference": float(np.abs(check.probabilities("killed") - check.probabilities("device")).max()),
    }
    return figures, complaints.about_resuming(figures, is_exact=not check.gpu)


def _n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _speed(check: FullCheck) -> Judged:
    """A longer run in each precision, with the defaults of a user: sequences per second, memory, idle share."""
    n_sequences = LONG_SEQUENCES if check.gpu else QUICK_SEQUENCES
    data, figures = write_photos(check.work / "long", n_sequences), {}
    for precision in (Precision.FLOAT32, Precision.MIXED):
        with watched() as load:
            cost, run = check.predict(f"long_{precision}", *check.options, "--precision", precision, data=data)
            end = time.perf_counter()
        proof = run["seconds"].get(PROVE, 0.0)
        working = run["seconds"]["elapsed"] - run["seconds"][LOAD] - proof
        figures[precision.value] = {
            "used": run["precision"]["used"],
            "sequences": n_sequences,
            "process_seconds": round(cost.seconds, 2),
            "seconds_without_proof": round(cost.seconds - proof, 2),
            "working_seconds": round(working, 2),
            "seconds": run["seconds"],
            "host_memory_mib": round(cost.peak_mb),
            "gpu_memory_mib": max(load.used_mib, default=None),
            "gpu_idle_share": load.idle_share(end - working, end),
        }
    return figures, complaints.about_speed(figures) if check.gpu else None


def _networks(check: FullCheck, timed: list[BenchReport]) -> Judged:
    """Seconds of every network at every size, precision and size of a call, of photos, of start-up and of the end."""
    folder = check.work / "stages"
    folder.mkdir()
    scene = set_up(
        write_photos(check.work / "some", SMALL_SEQUENCES),
        check.bundle,
        RunOptions(n_workers=n_workers(), batch_size=GPU_BATCH_SIZE if check.gpu else DEFAULT_BATCH_SIZE),
        folder,
        tuple(Precision),
        engine=check.engine,
        device=check.device,
    )
    harness = Harness(scene, all_stages(scene, IMAGES_PER_CALL), "hakuna doctor --full")
    names = [one.name for one in harness.stages if one.group != "end to end"]
    startup = time_startup(check.bundle, check.work / "startup", 1, *check.options)
    timed.append(harness.time(REPEATS if check.gpu else QUICK_REPEATS, startup, only=names))
    return timed[0].model_dump(mode="json"), None


def _projection(check: FullCheck, timed: list[BenchReport], figures: dict[str, Any]) -> Judged:
    """The longer runs as the measured rates project them, beside the time that they took without the proof."""
    if not timed or "speed" not in figures:
        raise HakunaError("speed and networks: must have been measured, got none")
    workload = trial_workload("long", [(PHOTO, 3)] * figures["speed"][Precision.FLOAT32.value]["sequences"])
    projected = {}
    for precision in (Precision.FLOAT32, Precision.MIXED):
        run, manifest = figures["speed"][precision.value], check.bundle.manifest
        if run["used"] == precision:
            rates = measured_rates(timed[0], precision)
            one = project(workload, manifest, rates, ensemble=Effort.FULL, precision=precision, level=MEASURED)
            seconds = run["seconds_without_proof"]
            error = round(one.seconds / seconds - 1, 3)
            projected[precision.value] = {
                "projected_seconds": round(one.seconds, 2),
                "seconds": seconds,
                "error": error,
            }
    return projected, complaints.about_projection(projected) if check.gpu else None


def _decisions(check: FullCheck, timed: list[BenchReport]) -> tuple[list[dict[str, Any]], None]:
    """The verdict on each number of the profile; none without one or without measurements."""
    return decisions(timed[0], check.bundle.manifest, check.profile) if timed and check.profile else [], None


def check_on(
    *,
    gpu: bool,
    bundle: Path | None,
    data: Path | None,
    profile: Profile | None,
    work: Path,
    command: str,
    decoders_only: bool = False,
) -> dict[str, Any]:
    """`full_check` with defaults: untrained networks as large as the published ones, drawn photos, the GPU's profile."""
    use_order_of_nvidia_smi()
    facts = gpu_facts()
    if bundle or decoders_only:
        opened = open_bundle(bundle or BUNDLE_FOLDER)
    else:
        from models.bundling.untrained import untrained_bundle
        from models.spec.recipe import load_recipe

        opened = untrained_bundle(work / "bundle", load_recipe("third_place"), SEED, PUBLISHED_BACKBONE)
    chosen = profile or (profile_of(facts["name"]) if facts else None if gpu else load_profile("v100"))
    photos = data or write_photos(work / "some", SMALL_SEQUENCES)
    return full_check(FullCheck(gpu, opened, chosen, photos, work), command, decoders_only=decoders_only)
