"""`hakuna score`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import JsonTarget, LabelledOnly
from inference.cli.printing import show_or_write
from inference.cli.session import working
from inference.core.errors import DoesNotFitError


def score(
    submission: Annotated[Path, typer.Argument(help="submission.csv")],
    labels: Annotated[Path, typer.Argument(help="CSV with seq_id and 54 columns of 0 and 1.")],
    compare: Annotated[
        Path | None,
        typer.Option(help="Another submission: difference with its interval, by class, and who gains. Default: none."),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="Metadata of the photos: scores by hour, day and night, number of frames. Default: none."),
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="CSV with seq_id and site; default: from public ids, else folders of photos.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=1e-15, max=0.49, help="Clip probabilities to [eps, 1 - eps]; 1e-15 to 0.49.")
    ] = 1e-15,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Draws of the bootstrap over sites.")] = 2000,
    labelled_only: LabelledOnly = False,
    max_log_loss: Annotated[
        float | None, typer.Option(min=0, help="Exit with 11 if the mean log loss is larger. Default: no limit.")
    ] = None,
    json: JsonTarget = None,
) -> None:
    """Score a submission: mean log loss with its interval, by class and by site, and how far probabilities can be trusted.

    Examples:
        hakuna score results/submission.csv labels.csv
        hakuna score results/submission.csv labels.csv --metadata test_metadata.csv --json
        hakuna score results/submission.csv labels.csv --compare baseline/submission.csv
        hakuna score results/submission.csv labels.csv --max-log-loss 0.05
    """
    from benchmark.scoring import files

    with working("scoring"):
        report = files.score(
            submission,
            labels,
            compare=compare,
            metadata=metadata,
            sites=sites,
            epsilon=epsilon,
            resamples=resamples,
            labelled_only=labelled_only,
        )
    from benchmark.scoring.tables import print_report

    show_or_write(report.model_dump_json(indent=1), json, lambda: print_report(report, submission, compare))
    if max_log_loss is not None and not report.log_loss <= max_log_loss:
        raise DoesNotFitError(
            f"--max-log-loss {max_log_loss:g}: must not be exceeded, got a mean of {report.log_loss:.6f}"
        )
