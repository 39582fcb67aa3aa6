"""`hakuna doctor --full`: measures on a GPU everything that a device profile assumes, and whether its answers hold.

Every part runs alone: one that fails is reported, and the others follow. Without a GPU the same code runs on the CPU, as
a rehearsal.
"""

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
from benchmark.capacity.workloads import PhotoSize, Workload
from benchmark.provenance import origin
from benchmark.selftest.assumptions import decisions, network_rates
from benchmark.selftest.gpu_watch import gpu_facts, watched
from benchmark.timing.decoders import compare_decoders
from benchmark.timing.harness import Harness, PredictCost, n_workers, predict_command, run_predict, time_startup
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.report import BenchReport
from benchmark.timing.stages import all_stages, set_up
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName, Device, EngineName, Precision
from inference.core.errors import HakunaError
from inference.core.sequences import ImageSize
from inference.execution.executor import LOAD
from inference.execution.job import RunOptions
from inference.networks.precision_check import compare_precisions
from inference.outputs.finished_run import read_finished_run
from inference.outputs.submission import SUBMISSION_NAME
from inference.records.schema import RECORDS_NAME
from inference.run.precision_selection import COMPARE
from inference.settings.packages import is_installed

PHOTO = ImageSize(1536, 2048)
SEED = 1
IMAGES_PER_CALL = (2, 4, 8, 16, 32)
SMALL_SEQUENCES, SMALL_BATCH = 12, 2
"""Of the runs that are compared with each other: several batches."""
REPEATS, QUICK_REPEATS, DECODE_ROUNDS = 5, 1, 3
LONG_SEQUENCES, QUICK_SEQUENCES = 256, 24
"""Of the run whose speed is measured; fewer in a rehearsal."""
LARGEST_DIFFERENCE = 2e-4
"""Of a probability in float32 from that of the CPU."""
NEARLY_EQUAL = 0.999
"""Share of DALI's values that equal Pillow's; the others may differ by one."""
KILL_SECONDS = 0.02


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

    def predict(self, name: str, *options: object, data: Path | None = None) -> tuple[PredictCost, dict[str, Any]]:
        """Run `hakuna predict` in a process of its own; returns its cost and `run.json`."""
        cost = run_predict(data or self.data, self.bundle.folder, self.work / name, *options)
        return cost, read_finished_run(self.work / name).run


def full_check(check: FullCheck, command: str) -> dict[str, Any]:
    """Run every part; returns figures ready for JSON: `parts`, `failed` (messages by part), and `decisions`."""
    timed: list[BenchReport] = []
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "decoders": partial(_decoders, check, command),
        "answers": partial(_answers, check),
        "kill and resume": partial(_kill_and_resume, check),
        "speed": partial(_speed, check),
        "networks": partial(_networks, check, timed),
        "projection": partial(_projection, check, timed, figures),
    }
    failed: dict[str, str] = {}
    for name, part in parts.items():
        try:
            figures[name] = part()
        except (HakunaError, ImportError, RuntimeError, OSError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            if complaint := figures[name].get("complaint"):
                failed[name] = complaint
    return {
        "what": "a check on a GPU" if check.gpu else "a rehearsal on the CPU: not a measurement of a GPU",
        "gpu": gpu_facts(),
        "profile": check.profile.name if check.profile else None,
        "bundle": check.bundle.manifest.name,
        "parts": figures,
        "failed": failed,
        "decisions": decisions(timed[0], check.bundle.manifest, check.profile) if timed and check.profile else [],
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


def _decoders(check: FullCheck, command: str) -> dict[str, Any]:
    """Every decoder's pixels and speed."""
    figures = compare_decoders(check.data, command, DECODE_ROUNDS, damage=False)
    complaint = complaint_about_pixels(figures["decoders"])
    return figures | ({"complaint": complaint} if complaint else {})


def complaint_about_pixels(decoders: dict[str, dict[str, Any]]) -> str | None:
    """`fast` must have Pillow's pixels, and DALI nearly; None if they do."""
    for name, one in decoders.items():
        least, most = (NEARLY_EQUAL, 1) if name == DecoderName.DALI else (1.0, 0)
        if one["values_equal_to_pillow"] < least or one["largest_difference"] > most:
            return f"decoder {name}: must have the pixels of Pillow, got {one}"
    return None


def _answers(check: FullCheck) -> dict[str, Any]:
    """The submission of the device beside that of the CPU, in float32 and mixed precision."""
    batch = ("--batch-size", SMALL_BATCH)
    check.predict("cpu", "--device", "cpu", *batch)
    check.predict("device", *check.options, *batch)
    _, mixed = check.predict("mixed", *check.options, *batch, "--precision", "mixed")
    cpu, device, half = (
        read_finished_run(check.work / one).predictions.values.astype(np.float32) for one in ("cpu", "device", "mixed")
    )
    bound = check.bundle.manifest.ensemble.max_mixed_loss_increase
    differences = [float(np.abs(one - cpu).max()) for one in (device, half)]
    figures = {
        "sequences": len(cpu),
        "largest_difference_in_float32": differences[0],
        "largest_difference_in_mixed_precision": differences[1],
        "relative_loss_increase_in_float32": compare_precisions(cpu, device, bound).relative_increase,
        "precision": mixed["precision"],
        "bound": bound,
    }
    too_far = f"float32: must differ by at most {LARGEST_DIFFERENCE:g} from the CPU, got {differences[0]:.2g}"
    return figures | ({"complaint": too_far} if differences[0] > LARGEST_DIFFERENCE else {})


def _kill_and_resume(check: FullCheck) -> dict[str, Any]:
    """Kill a run after its first records; the same command must finish it and keep them byte for byte."""
    out = check.work / "killed"
    options = (*check.options, "--batch-size", SMALL_BATCH)
    whole = check.work / "device"
    if not whole.exists():
        check.predict("device", *options)
    with subprocess.Popen(  # noqa: S603  # this very program
        predict_command(check.data, check.bundle.folder, out, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and _n_lines(out / RECORDS_NAME) < 1 + SMALL_BATCH:
            time.sleep(KILL_SECONDS)
        process.kill()
    before = (out / RECORDS_NAME).read_bytes() if (out / RECORDS_NAME).exists() else b""
    kept = before[: before.rfind(b"\n") + 1]
    check.predict("killed", *options)
    after = (out / RECORDS_NAME).read_bytes()
    submissions = [(one / SUBMISSION_NAME).read_bytes() for one in (whole, out)]
    figures = {
        "records_before_the_kill": max(0, kept.count(b"\n") - 1),
        "records_in_all": after.count(b"\n") - 1,
        "records_kept": after.startswith(kept),
        "same_submission": submissions[0] == submissions[1],
    }
    complaint = "records: must be kept byte for byte by a resumed run, got others"
    return figures | ({} if figures["records_kept"] else {"complaint": complaint})


def _n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _speed(check: FullCheck) -> dict[str, Any]:
    """A longer run in each precision, with the defaults of a user: sequences per second, memory, idle share."""
    n_sequences = LONG_SEQUENCES if check.gpu else QUICK_SEQUENCES
    data, figures = write_photos(check.work / "long", n_sequences), {}
    for precision in Precision:
        with watched() as load:
            cost, run = check.predict(f"long_{precision}", *check.options, "--precision", precision, data=data)
            end = time.perf_counter()
        working = run["seconds"]["elapsed"] - run["seconds"][LOAD]
        figures[precision.value] = {
            "used": run["precision"]["used"],
            "sequences": n_sequences,
            "process_seconds": round(cost.seconds, 2),
            "working_seconds": round(working, 2),
            "seconds": run["seconds"],
            "host_memory_mib": round(cost.peak_mb),
            "gpu_memory_mib": max(load.used_mib, default=None),
            "gpu_idle_share": load.idle_share(end - working, end),
        }
    return figures


def _networks(check: FullCheck, timed: list[BenchReport]) -> dict[str, Any]:
    """Passes per second of every network at every size, precision and size of a call, and the share of the peak."""
    folder = check.work / "stages"
    folder.mkdir()
    scene = set_up(
        write_photos(check.work / "some", SMALL_SEQUENCES),
        check.bundle,
        RunOptions(n_workers=n_workers()),
        folder,
        tuple(Precision),
        engine=check.engine,
        device=check.device,
    )
    harness = Harness(scene, all_stages(scene, IMAGES_PER_CALL), "hakuna doctor --full")
    groups = ("network", "photos", "finish")
    startup = time_startup(check.bundle, check.work / "startup", 1, *check.options)
    repeats = REPEATS if check.gpu else QUICK_REPEATS
    report = harness.time(repeats, startup, only=[one.name for one in harness.stages if one.group in groups])
    timed.append(report)
    return {"report": report.model_dump(mode="json", exclude={"machine"}), "rates": network_rates(report)}


def _projection(check: FullCheck, timed: list[BenchReport], figures: dict[str, Any]) -> dict[str, Any]:
    """The longer runs as the measured rates project them, beside the time that they took without the proof."""
    if not timed or "speed" not in figures:
        raise RuntimeError("speed and networks: must have been measured, got none")
    size, manifest = PhotoSize(height=PHOTO.height, width=PHOTO.width, share=1), check.bundle.manifest
    projected = {}
    for precision in Precision:
        run = figures["speed"][precision.value]
        if run["used"] != precision:
            continue
        workload = Workload(
            format_version=1,
            name="long",
            source=__name__,
            sequences=run["sequences"],
            frames={"1": 0, "2": 0, "3": 1},
            photo_sizes=(size,),
        )
        rates = measured_rates(timed[0], precision)
        one = project(workload, manifest, rates, ensemble=Effort.FULL, precision=precision, level=MEASURED)
        seconds = run["process_seconds"] - run["seconds"].get(COMPARE, 0.0)
        projected[precision.value] = {
            "projected_seconds": round(one.seconds, 2),
            "seconds": round(seconds, 2),
            "error": round(one.seconds / seconds - 1, 3),
        }
    return projected


def check_on(
    *, gpu: bool, bundle: Path | None, data: Path | None, profile: Profile | None, work: Path, command: str
) -> dict[str, Any]:
    """`full_check` with defaults: untrained networks as large as the published ones, drawn photos, the GPU's profile."""
    facts = gpu_facts()
    if bundle:
        opened = open_bundle(bundle)
    else:
        from models.bundling.untrained import untrained_bundle
        from models.spec.recipe import load_recipe

        opened = untrained_bundle(work / "bundle", load_recipe("third_place"), SEED, PUBLISHED_BACKBONE)
    chosen = profile or (profile_of(facts["name"]) if facts else None if gpu else load_profile("v100"))
    photos = data or write_photos(work / "some", SMALL_SEQUENCES)
    return full_check(FullCheck(gpu, opened, chosen, photos, work), command)
