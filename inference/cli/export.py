"""`hakuna export`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli import options
from inference.cli.printing import say
from inference.cli.session import working
from inference.core.choices import PACKAGE_NAME, ExportFormat


def export(
    run: options.Run,
    target: Annotated[ExportFormat, typer.Option("--format", help="Format to write.")],
    out: Annotated[Path, typer.Option(help="File to write; with camtrap-dp a folder.")],
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="Metadata of the run; required except for long-csv, where it adds site and time. Default: none."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Smallest listed probability; default 0.01, camtrap-dp 0.5."),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="TOML file with facts that photos cannot show; required for camtrap-dp. Default: none."),
    ] = None,
    records: options.Records = None,
    force: options.Force = False,
) -> None:
    """Write the results of a run in a format of other programs: MegaDetector 1.6, Camtrap DP 1.0.2, or a long CSV.

    Exports of a demo model carry a warning. Unprocessed sequences (the time budget ended, or no photo could be used) have
    only the usual share of each class (priors). They are left out (long-csv), listed as failures (megadetector) or `unclassified` (camtrap-dp).

    Examples:
        hakuna export results --format long-csv --out results.csv --threshold 0.1
        hakuna export results --format megadetector --metadata metadata.csv --out results.json
        hakuna export results --format camtrap-dp --metadata metadata.csv --project project.toml --out package
    """
    from inference.core.files import check_run_folder

    check_run_folder(run)
    from inference import api
    from inference.outputs.finished_run import check_nothing_is_lost

    check_nothing_is_lost(out, run, metadata, project)
    if target is ExportFormat.CAMTRAP_DP:
        options.check_package("--out", out, force, PACKAGE_NAME)
    else:
        options.check_file("--out", out, force)
    with working(f"writing {target}"):
        lines = api.export(
            run, out, target=target, metadata=metadata, threshold=threshold, project=project, records=records
        )
    for line in lines:
        say(line)
