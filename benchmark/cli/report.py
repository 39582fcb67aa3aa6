"""`hakuna report`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import Force, LabelledOnly, Labels, Run, check_file
from inference.cli.printing import say
from inference.cli.session import working
from inference.core.errors import InputError, counted


def report(
    run: Run,
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    labels: Labels = None,
    labelled_only: LabelledOnly = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the photos: pictures on the contact sheets. Default: none.")
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="Metadata of the photos; default: DATA/test_metadata.csv, where --data is given."),
    ] = None,
    sheets: Annotated[int, typer.Option(min=0, max=1000, help="Sequences to show.")] = 48,
    force: Force = False,
) -> None:
    """Make one HTML page of a run: score, classes, calibration, time, failures, and the sequences worth a look.

    The page is self-contained. Without labels it shows the most and the least confident sequences.

    Examples:
        hakuna report results --data /data --labels labels.csv --out report.html
        hakuna report results --data /media/card --metadata metadata.csv --out report.html
    """
    from inference.core.files import check_folder, check_run_folder, make_parent

    check_run_folder(run)
    from inference.api.jobs import metadata_of
    from inference.dataset.label_tables import read_labels
    from inference.dataset.metadata import read_metadata
    from inference.outputs.finished_run import check_nothing_is_lost, read_finished_run
    from inference.outputs.run_metadata import check_metadata

    if data:
        check_folder(data, InputError, "the folder with the photos")
    metadata_path = metadata_of(data, metadata) if data else metadata
    check_nothing_is_lost(out, run, labels, metadata_path)
    check_file("--out", out, force)
    with working("reading the run"):
        truth = read_labels(labels) if labels else None
        sequences = read_metadata(metadata_path).sequences if metadata_path else None
        finished = read_finished_run(run)
        if metadata_path and sequences:
            check_metadata(finished, sequences, metadata_path)
    from benchmark.report.content import Sources
    from benchmark.report.page import write_report
    from inference.settings.settings import load_settings

    sources = Sources(truth, sequences, data, metadata_path, sheets, load_settings().workers, labelled_only)
    with working("drawing the sequences") as on_progress:
        make_parent(out)
        page = write_report(finished, sources, out, on_progress)
    n_sheets = sum(len(group.sheets) for group in page.groups)
    if page.warning:
        say(page.warning)
    megabytes = out.stat().st_size / 1e6
    say(f"{counted(page.n_sequences, 'sequence')}, {n_sheets} of them shown -> {out} ({megabytes:.1f} MB)")
