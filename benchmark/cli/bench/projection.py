"""`hakuna bench project` and `validate`."""

import tempfile
from pathlib import Path
from typing import Any

from benchmark.capacity.device_profiles import LOW, Profile
from benchmark.capacity.operations import counted_manifest, needs_tensorflow
from benchmark.capacity.projection import (
    ENSEMBLES,
    MEASURED,
    Decisive,
    Projection,
    decisive_assumptions,
    profile_table,
    project,
)
from benchmark.capacity.rates import measured_rates
from benchmark.capacity.validation import IMAGES_PER_CALL, TIMED_SIZES, validate
from benchmark.capacity.workloads import Workload
from benchmark.charts import tables
from benchmark.cli.bench.request import (
    BACKBONE,
    STARTUP_REPEATS,
    HarnessRequest,
    check_tensorflow,
    command_line,
    quiet_logs,
    show_figures,
    working_in,
)
from benchmark.cli.bench.stages import make_harness, time_stages
from benchmark.provenance import origin
from benchmark.timing.harness import time_startup
from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort
from inference.bundle.reader import open_bundle, read_manifest
from inference.cli.printing import printing_beside, show_or_write
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError, UsageError
from models.spec.recipe import load_recipe, manifest_of


def project_workload(
    request: HarnessRequest,
    workload: Workload,
    profile: Profile | None,
    budget: float | None,
    ensemble: Effort,
    precision: Precision,
    json: Path | None = None,
) -> None:
    """Project a workload for every ensemble, on a device or, without a profile, on this machine.

    Raises DoesNotFitError where the requested ensemble and precision do not fit into the budget in seconds.
    """
    if profile:
        manifest = _manifest(request)
        projections = profile_table(workload, manifest, profile)
        device, shown, level = profile.name, f"{profile.name} (not measured)", LOW
    else:
        with printing_beside(json):
            projections = _on_this_machine(request, workload)
        device, shown, level = "this machine", "this machine, from the rates above", MEASURED
    wanted, known = (ensemble, precision, level), dict.fromkeys(one.precision for one in projections)
    chosen = next((one for one in projections if (one.ensemble, one.precision, one.level) == wanted), None)
    if chosen is None:
        raise UsageError(
            f"--precision: must be one of {', '.join(one.value for one in known)} here, got {precision.value}"
        )
    decisive = decisive_assumptions(workload, manifest, profile, chosen, budget) if profile and budget else []

    def show() -> None:
        if profile:
            tables.print_assumptions(profile)
        tables.print_projections(workload, projections, budget, shown)
        if profile and budget:
            tables.print_decisive(chosen, decisive)

    figures = _figures(workload, projections, budget, device)
    show_or_write(figures | {"hangs_on": [vars(one) for one in decisive]}, json, show)
    if budget and not chosen.fits(budget):
        fitting = [one for one in projections if one.level == level and one.fits(budget)]
        best = min(fitting, key=lambda one: (one.ensemble, one.precision is Precision.MIXED), default=None)
        instead = f"; {best.ensemble.label} in {best.precision.value} would fit" if best else "; nothing would fit"
        raise DoesNotFitError(
            f"--budget {tables.duration(budget)}: must be enough for {workload.name}, {chosen.ensemble.label} in "
            f"{precision.value} on {device} ({level}), got a projection of {tables.duration(chosen.seconds)}"
            f"{_hanging_on(decisive)}{instead}"
        )


def _hanging_on(decisive: list[Decisive]) -> str:
    """The numbers on which a verdict hangs, for its message."""
    return f", which hangs on {', '.join(one.name for one in decisive)}" if decisive else ""


def _manifest(request: HarnessRequest) -> Manifest:
    """The manifest of the requested bundle, or of a future one of the recipe."""
    if request.bundle:
        return read_manifest(request.bundle)[0]
    recipe, backbone = load_recipe(request.recipe), request.backbone or BACKBONE
    if needs_tensorflow(recipe, backbone):
        check_tensorflow("--device-profile", "counts the operations of networks")
    return counted_manifest(recipe, backbone)


def _on_this_machine(request: HarnessRequest, workload: Workload) -> list[Projection]:
    report = time_stages(request)
    manifest = open_bundle(request.bundle).manifest if request.bundle else manifest_of(load_recipe(request.recipe))
    timed = [one for one in Precision if any(stage.precision == one.value for stage in report.stages)]
    return [
        project(workload, manifest, measured_rates(report, one), ensemble=ensemble, precision=one, level=MEASURED)
        for one in timed
        for ensemble in ENSEMBLES
    ]


def _figures(workload: Workload, projections: list[Projection], budget: float | None, device: str) -> dict[str, Any]:
    return {
        "what": f"projection of {workload.name} on {device}: not measured",
        **origin(command_line()),
        "workload": workload.model_dump(mode="json"),
        "budget_seconds": budget,
        "projections": [
            {
                "ensemble": one.ensemble.label,
                "precision": one.precision.value,
                "level": one.level,
                "hours": round(one.seconds / tables.HOUR, 3),
                "fits": one.fits(budget) if budget else None,
            }
            for one in projections
        ],
    }


def validate_projections(request: HarnessRequest, n_sequences: int, json: Path | None = None) -> None:
    """Predicted against real time of three workloads."""
    with working_in(request.cache_dir) as work, quiet_logs():
        harness = make_harness(request, work, IMAGES_PER_CALL, sizes=TIMED_SIZES, precisions=(Precision.FLOAT32,))
        bundle = harness.scene.bundle
        figures = validate(
            harness,
            bundle,
            Path(tempfile.mkdtemp(dir=work)),
            n_sequences=n_sequences,
            repeats=request.n_repeats,
            time_startup=lambda: time_startup(bundle, Path(tempfile.mkdtemp(dir=work)), STARTUP_REPEATS),
        )
    show_figures(figures, json)
