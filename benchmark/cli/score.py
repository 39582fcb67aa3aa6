"""`hakuna score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


def score(
    submission: Annotated[Path, typer.Argument(help="submission.csv")],
    labels: Annotated[Path, typer.Argument(help="CSV with seq_id and 54 columns of 0 and 1.")],
    against: Annotated[
        Path | None, typer.Option(help="Another submission: difference with its interval, by class, and who gains.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="Metadata of the photos: scores by hour, day and night, number of frames.")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="CSV with seq_id and site; default: from public ids, else folders of photos.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=1e-15, max=0.49, help="Clip probabilities to [eps, 1 - eps]; 1e-15 to 0.49.")
    ] = 1e-15,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Draws of the bootstrap over sites.")] = 2000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (schema_version 1) instead of tables.")] = False,
) -> None:
    """Score a submission: mean log loss with its interval, by class and by site, and how far probabilities can be trusted.

    Examples:
        hakuna score results/submission.csv labels.csv

        hakuna score results/submission.csv labels.csv --metadata test_metadata.csv --json

        hakuna score results/submission.csv labels.csv --against baseline/submission.csv
    """
    from benchmark.scoring import report as score_report
    from benchmark.scoring.strata import strata_of
    from benchmark.scoring.tables import print_report
    from inference.dataset.label_tables import read_labels, read_submission

    truth = read_labels(labels)
    report = score_report.report(
        read_submission(submission),
        truth,
        strata_of(truth.seq_ids, metadata, sites),
        against=read_submission(against) if against else None,
        epsilon=epsilon,
        n_resamples=resamples,
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        print_report(report)
