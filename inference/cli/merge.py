"""`hakuna merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass
from inference.api import second_phase
from inference.cli.printing import LogFormat, print_summary


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Output folders of the shards, in any order.")],
    bundle: Annotated[Path, typer.Option(help="Model bundle that the shards were made with.")],
    out: Annotated[Path, typer.Option(help="Output folder of the whole run.")],
    features: Annotated[Path | None, typer.Option(help="Also write the stacker matrix to this .npz file.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log as console lines or as JSON.")] = None,
) -> None:
    """Join the records of shards and write the submission: the bytes of a run that was not cut.

    Example: hakuna merge part1 part2 part3 --bundle bundles/third_place --out results
    """
    from inference.process.lock import locked
    from inference.process.progress import RunState
    from inference.process.signals import graceful_shutdown
    from inference.run.merge import merge_records
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

    human = configure_logging(load_settings(log_format=log_format).log_format)
    state = RunState()
    with locked(out), graceful_shutdown(state):
        merge_records(shards, out, state.check)
        report = second_phase(out, bundle, out, features, state)
    print_summary(report, out, human)
