"""`hakuna study`: developer commands for committed figures and the demo bundle. Hidden from the list of commands."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.bench.app import CacheDir, Plots
from benchmark.cli.bench.request import command_line, show_figures, working_in
from inference.cli.options import JsonTarget, command_group
from inference.core.files import output_errors


def ablation(
    mini: Annotated[bool, typer.Option("--mini", help="One seed, as small as it works.")] = False,
    plots: Plots = None,
    json: JsonTarget = None,
    cache_dir: CacheDir = None,
) -> None:
    """The published solution step by step, on synthetic seasons (an hour). --cache-dir keeps finished seeds.

    Examples:
        hakuna study ablation --cache-dir build/ablation --json benchmark/results/ablation.json --plots benchmark/results
    """
    from benchmark.ablation.plan import FULL, MINI
    from benchmark.ablation.report import markdown, write_report
    from benchmark.ablation.study import run_ablation
    from benchmark.timing.harness import n_workers
    from inference.cli.printing import show_or_write

    with working_in(cache_dir) as work:
        figures = run_ablation(work, MINI if mini else FULL, n_workers(), command_line())
    show_or_write(figures, json, lambda: typer.echo(markdown(figures)))
    if plots:
        write_report(figures, plots)


def demo_bundle(
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not exist.")],
    cache_dir: CacheDir = None,
) -> None:
    """Train the bundle of `hakuna demo` on synthetic seasons.

    Examples:
        hakuna study demo-bundle --out build/demo --cache-dir build/demo-bundle
    """
    from benchmark.ablation.demo_bundle import make_demo_bundle
    from benchmark.timing.harness import n_workers

    with working_in(cache_dir) as work:
        bundle = make_demo_bundle(work, out, command_line(), n_workers())
    typer.echo(f"bundle {bundle.id[:12]} -> {bundle.folder}")


def scaling(plots: Plots = None, json: JsonTarget = None, cache_dir: CacheDir = None) -> None:
    """Time and memory of whole runs of 100 to 10,000 synthetic sequences.

    Examples:
        hakuna study scaling --json benchmark/results/scaling.json --plots benchmark/results
    """
    from benchmark.studies.scaling import measure_scaling, plot

    with working_in(cache_dir) as work:
        figures = measure_scaling(work, command_line())
    show_figures(figures, json)
    if plots:
        with output_errors(plots):
            plots.mkdir(parents=True, exist_ok=True)
        plot(figures, plots / "scaling.svg")


Networks = Annotated[Path, typer.Option(help="The bundle whose networks compute.")]


def cluster(bundle: Networks = Path("models/demo/bundle"), json: JsonTarget = None, cache_dir: CacheDir = None) -> None:
    """Time and processor time of a run by a Ray cluster on this machine, beside those of one process (17 minutes).

    Examples:
        hakuna study cluster --json benchmark/results/cluster.json
    """
    from benchmark.studies.cluster_overhead import measure_cluster

    with working_in(cache_dir) as work:
        figures = measure_cluster(work, bundle.absolute(), command_line())
    show_figures(figures, json)


app = command_group("Studies behind committed figures.", ablation, demo_bundle, scaling, cluster)
