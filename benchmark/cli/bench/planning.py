"""`hakuna bench`: projections, their validation, the page of figures."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.capacity.device_profiles import load_profile
from benchmark.capacity.flops import bundle_operations, recipe_operations
from benchmark.capacity.projection import ENSEMBLES, LOW, MEASURED, Projection, manifest_of, profile_table, project
from benchmark.capacity.rates import measured_rates
from benchmark.capacity.validation import IMAGES_PER_CALL, TIMED_SIZES, validate
from benchmark.capacity.workloads import Workload, load_workload
from benchmark.charts import tables
from benchmark.cli.bench.request import (
    BACKBONE,
    STARTUP_REPEATS,
    BenchRequest,
    make_harness,
    quiet_logs,
    show_figures,
    with_parent_folder,
    work_folder,
)
from benchmark.cli.bench.timing import time_stages
from benchmark.provenance import origin
from benchmark.timing import regression_gate
from benchmark.timing.harness import time_startup
from inference.bundle.passes import Effort
from inference.bundle.reader import open_bundle
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError, UsageError
from inference.core.files import write_json
from models.spec.recipe import load_recipe


def project_workload(
    request: BenchRequest,
    workload_name: str,
    budget: float | None,
    profile_name: str | None,
    ensemble: Effort,
    precision: Precision,
) -> None:
    """Project a workload for every ensemble. Raises DoesNotFitError where the one that is asked for does not fit."""
    workload = load_workload(workload_name)
    if profile_name:
        projections, what, level = _on_profile(request, workload, profile_name, budget)
    else:
        projections, what, level = _on_this_machine(request, workload, budget)
    judged = [one for one in projections if (one.ensemble, one.precision, one.level) == (ensemble, precision, level)]
    if not judged:
        raise UsageError(f"--precision {precision.value}: must be one that this machine has")
    if request.json_file:
        write_json(
            _figures(workload, projections, budget, what, request.command), with_parent_folder(request.json_file)
        )
    if budget and not judged[0].fits(budget):
        fitting = [one for one in projections if one.level == level and one.fits(budget)]
        best = min(fitting, key=lambda one: (one.ensemble, one.precision is Precision.MIXED), default=None)
        instead = f"; {best.ensemble.label} in {best.precision.value} would fit" if best else "; nothing would fit"
        raise DoesNotFitError(
            f"--budget {tables.duration(budget)}: must be enough for {workload.name}, {ensemble.label} in "
            f"{precision.value} on {what} ({level}), got a projection of {tables.duration(judged[0].seconds)}{instead}"
        )


def _on_profile(
    request: BenchRequest, workload: Workload, name: str, budget: float | None
) -> tuple[list[Projection], str, str]:
    profile = load_profile(name)
    if request.bundle:
        bundle = open_bundle(request.bundle)
        manifest, operations = bundle.manifest, bundle_operations(bundle)
    else:
        recipe = load_recipe(request.recipe)
        manifest, operations = manifest_of(recipe), recipe_operations(recipe, request.application or BACKBONE)
    projections = profile_table(workload, manifest, profile, operations)
    tables.print_assumptions(profile)
    tables.print_projections(workload, projections, budget, f"{profile.name} (not measured)")
    return projections, profile.name, LOW


def _on_this_machine(
    request: BenchRequest, workload: Workload, budget: float | None
) -> tuple[list[Projection], str, str]:
    report = time_stages(request, None, None, regression_gate.MAX_REGRESSION)
    manifest = open_bundle(request.bundle).manifest if request.bundle else manifest_of(load_recipe(request.recipe))
    timed = [one for one in Precision if any(stage.precision == one.value for stage in report.stages)]
    projections = [
        project(workload, manifest, measured_rates(report, one), ensemble=ensemble, precision=one, level=MEASURED)
        for one in timed
        for ensemble in ENSEMBLES
    ]
    tables.print_projections(workload, projections, budget, "this machine, from the rates above")
    return projections, "this machine", MEASURED


def _figures(
    workload: Workload, projections: list[Projection], budget: float | None, what: str, command: str
) -> dict[str, Any]:
    return {
        "what": f"projection of {workload.name} on {what}: not measured",
        **origin(command),
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


def validate_projections(request: BenchRequest, n_sequences: int) -> dict[str, Any]:
    """Predicted against real time of three workloads."""
    with work_folder(request.work) as work, quiet_logs():
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
    return show_figures(figures, request.json_file)


def draw_history(folder: Path) -> None:
    """All committed figures on one page."""
    from benchmark.charts.history import write_page

    Console().print(f"page  {write_page(folder)}", highlight=False)
