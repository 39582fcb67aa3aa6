"""`hakuna bench`: a sub-command for each question about time. Invalid options are refused before heavy imports."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.bench.request import BACKBONE, HarnessRequest, command_line, show_figures, working_in
from inference.bundle.passes import Effort
from inference.cli.options import JsonTarget, check_writable, command_group
from inference.core.choices import Precision
from inference.core.errors import UsageError
from inference.settings.packages import require

ENSEMBLES = {one.label.replace(" ", "-"): one for one in Effort if one is not Effort.PRIORS}
"""In the order in which a run short of time degrades."""
Photos = Annotated[
    Path,
    typer.Argument(
        exists=True, file_okay=False, help="Folder with photos, test_metadata.csv and submission_format.csv."
    ),
]
OptionalPhotos = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]", exists=True, file_okay=False, help="Folder with photos and CSV files; default: drawn photos."
    ),
]
Bundle = Annotated[
    Path | None, typer.Option(help="Model bundle; default: untrained networks, which needs TensorFlow (train).")
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Backbone of untrained networks, 'tiny' or one in keras.applications; default: 'tiny' where stages are timed, else InceptionResNetV2."
    ),
]
Recipe = Annotated[str, typer.Option(help="Ensemble to run.")]
Quick = Annotated[bool, typer.Option("--quick", help="Few repeats, float32 only, one size of photos: for CI.")]
Repeats = Annotated[int | None, typer.Option(min=1, help="Repeats of every stage; default 9, 7 with --quick.")]
Plots = Annotated[
    Path | None, typer.Option(help="Write plots (SVG) into this folder; needs Matplotlib. Default: none.")
]
CacheDir = Annotated[
    Path | None,
    typer.Option(help="Keep networks, bundle and photos in this folder, and use them again. Default: a temporary one."),
]


def stages(
    data: OptionalPhotos = None,
    bundle: Bundle = None,
    backbone: Backbone = None,
    recipe: Recipe = "third_place",
    quick: Quick = False,
    repeats: Repeats = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Exit with 11 if a stage is slower than in this report, made on this kind of processor. Default: none."
        ),
    ] = None,
    max_regression: Annotated[
        float, typer.Option(min=1.0, help="How many times slower, relative to its reference kernel.")
    ] = 1.3,
    plots: Plots = None,
    json: JsonTarget = None,
    cache_dir: CacheDir = None,
) -> None:
    """Time every stage of a run. With --compare, exit 11 if one has become slower.

    Examples:
        hakuna bench stages --bundle bundles/third_place --json bench.json --plots plots
        hakuna bench stages --quick --compare benchmark/results/baseline.json --max-regression 1.3
    """
    from benchmark.provenance import describe_machine
    from benchmark.timing.regression_gate import check_processor
    from benchmark.timing.report import read_report

    if plots:
        require("matplotlib")
        check_writable(plots / "plot")
    baseline = read_report(compare) if compare else None
    if baseline:
        check_processor(describe_machine(), baseline)
    from benchmark.cli.bench.stages import time_stages

    request = HarnessRequest(data, bundle, backbone, recipe, quick, repeats, cache_dir)
    time_stages(request, plots, baseline, max_regression, json)


def project(
    workload: Annotated[str, typer.Argument(help="Workload: season11, ... or a .toml file.")],
    data: OptionalPhotos = None,
    budget: Annotated[
        str | None, typer.Option(help="Exit with 11 if the workload does not fit: 8h, 90m. Default: no limit.")
    ] = None,
    device_profile: Annotated[
        str | None,
        typer.Option(help="Another device: v100, a100, h100, l4, t4 or a .toml file; default: this machine."),
    ] = None,
    ensemble: Annotated[
        str,
        typer.Option(
            metavar="|".join(ENSEMBLES),
            help="Ensemble that must fit: the full one, or a fallback of runs short of time.",
        ),
    ] = "full",
    precision: Annotated[Precision, typer.Option(help="Precision that must fit.")] = Precision.FLOAT32,
    bundle: Bundle = None,
    backbone: Backbone = None,
    recipe: Recipe = "third_place",
    quick: Quick = False,
    repeats: Repeats = None,
    json: JsonTarget = None,
    cache_dir: CacheDir = None,
) -> None:
    """Project how long a workload takes, here (stages are timed first) or on a device that a profile describes.

    Examples:
        hakuna bench project season11 --budget 8h --device-profile v100 --precision mixed
    """
    from benchmark.capacity.device_profiles import load_profile
    from benchmark.capacity.workloads import load_workload
    from inference.settings.settings import load_settings

    seconds = load_settings(budget=budget).budget if budget else None
    if ensemble not in ENSEMBLES:
        raise UsageError(f"--ensemble: must be one of {', '.join(ENSEMBLES)}, got {ensemble!r}")
    chosen, profile = load_workload(workload), load_profile(device_profile) if device_profile else None
    from benchmark.cli.bench.projection import project_workload

    request = HarnessRequest(data, bundle, backbone, recipe, quick, repeats, cache_dir)
    project_workload(request, chosen, profile, seconds, ENSEMBLES[ensemble], precision, json)


def validate(
    sequences: Annotated[int, typer.Option(min=10, help="Sequences of each workload.")] = 200,
    bundle: Bundle = None,
    backbone: Backbone = None,
    repeats: Repeats = None,
    json: JsonTarget = None,
    cache_dir: CacheDir = None,
) -> None:
    """Project three workloads, run them, compare.

    Examples:
        hakuna bench validate --sequences 200 --json benchmark/results/projection_validation.json
    """
    from benchmark.cli.bench.projection import validate_projections

    request = HarnessRequest(bundle=bundle, backbone=backbone, repeats=repeats, cache_dir=cache_dir)
    validate_projections(request, sequences, json)


def decoders(data: Photos, json: JsonTarget = None) -> None:
    """Time every decoder beside Pillow, on one core, and compare their pixels.

    Examples:
        hakuna bench decoders /data --json benchmark/results/decoders.json
    """
    from benchmark.timing.decoders import compare_decoders

    show_figures(compare_decoders(data, command_line()), json)


def published(
    data: Photos,
    backbone: Backbone = None,
    recipe: Recipe = "third_place",
    json: JsonTarget = None,
    cache_dir: CacheDir = None,
) -> None:
    """Time the whole prediction side by side with the published program's way of working.

    Examples:
        hakuna bench published /data --json benchmark/results/against_published.json
    """
    from benchmark.studies.against_published import compare

    with working_in(cache_dir) as work:
        figures = compare(data, recipe_name=recipe, application=backbone or BACKBONE, work=work, command=command_line())
    show_figures(figures, json)


def precisions(
    data: Photos,
    labels: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV file with the labels of the season.")
    ],
    bundle: Annotated[Path, typer.Option(help="Model bundle.")],
    json: JsonTarget = None,
) -> None:
    """Show the cost of each lower precision on a labelled season: log loss by the labels, and as estimated without them.

    Examples:
        hakuna bench precisions season season/test_labels.csv --bundle bundles/mine --json precisions.json
    """
    from benchmark.studies.precisions import cost_of_precisions

    show_figures(cost_of_precisions(data, labels, bundle, command_line()), json)


def calls(
    bundle: Annotated[Path, typer.Option(help="Model bundle.")],
    json: JsonTarget = None,
) -> None:
    """Time a network of a bundle by images in a call, calls at once and kind of shape, beside the choice of a run.

    Examples:
        hakuna bench calls --bundle bundles/third_place --json calls.json
    """
    from benchmark.studies.network_calls import sweep

    require("openvino")
    show_figures(sweep(bundle, command_line()), json)


def page(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with figures, as JSON files.")],
) -> None:
    """Draw all figures of a folder into its index.html; needs Matplotlib.

    Examples:
        hakuna bench page benchmark/results
    """
    from benchmark.charts.history import write_page

    typer.echo(f"page  {write_page(folder)}")


app = command_group(
    "Time stages, project workloads, compare.", stages, project, validate, decoders, calls, published, precisions, page
)
