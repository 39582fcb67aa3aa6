"""`hakuna stack`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from inference.core.errors import UsageError


def stack(
    training: Annotated[str, typer.Option("--train", help="Season to learn from: its records are in RECORDS/NAME.")],
    validation: Annotated[
        str, typer.Option("--valid", help="Season to judge with: half of it stops the training, half is held out.")
    ],
    records: Annotated[Path, typer.Option(help="Folder of output folders of `hakuna predict --no-tta`, by season.")],
    labels: Annotated[Path, typer.Option(help="CSV with seq_id and 54 columns of 0 and 1 for both seasons.")],
    recipe: Annotated[str, typer.Option(help="Recipe that the records belong to: its networks and stackers.")],
    out: Annotated[Path, typer.Option(help="Folder of the boosters; those that are there are kept.")],
    reverse_out: Annotated[
        Path | None, typer.Option(help="Also train on the season to judge with, judge with the other: folder of those.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Classes such as empty,zebra; default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Another seed, other boosters.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Most trees of a booster.")] = 3000,
    memory_gb: Annotated[
        float, typer.Option(min=1.0, help="Memory for all: bounds how many classes at a time.")
    ] = 12.0,
    workers: Annotated[int | None, typer.Option(help="Classes trained at a time; default: one per core.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what an earlier run has trained.")] = False,
) -> None:
    """Train the LightGBM stackers, one a class, on one season and judge them by another.

    Example: hakuna stack --train S9 --valid S10 --records records --labels train_labels.csv --recipe third_place
    --out stackers/lgbs_v11 --reverse-out stackers/lgbs_v12
    """
    from inference.process.lock import locked
    from inference.process.progress import RunState
    from inference.process.signals import graceful_shutdown
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

    settings = load_settings(workers=workers)
    configure_logging(settings.log_format)
    state = RunState()
    if reverse_out and out.resolve() == reverse_out.resolve():
        raise UsageError(f"--out, --reverse-out: must be different folders, got {out} twice")
    with ExitStack() as entered:
        for folder in (out, reverse_out) if reverse_out else (out,):
            entered.enter_context(locked(folder))
        entered.enter_context(graceful_shutdown(state))
        from models.cli.tables import print_stackers
        from models.spec.recipe import load_recipe
        from models.stacking.stack import StackingJob, StackingOptions, stack

        job = StackingJob(
            recipe=load_recipe(recipe),
            train=training,
            valid=validation,
            records=records,
            labels=labels,
            out=out,
            reverse_out=reverse_out,
            classes=tuple(classes.split(",")) if classes else None,
        )
        options = StackingOptions(
            n_workers=settings.workers, seed=seed, rounds=rounds, memory_bytes=int(memory_gb * 2**30), fresh=fresh
        )
        for result in stack(job, options, state):
            print_stackers(result)
