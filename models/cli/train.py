"""`hakuna train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference.core.choices import Preset
from models.spec.kinds import DEFAULT_SCHEDULES, Classes, Head, NetworkKind, Scaling

SECONDS_PER_MINUTE = 60


def train(
    network: Annotated[NetworkKind, typer.Argument(help="What the network looks at.")],
    data: Annotated[Path, typer.Argument(help="Folder with the photos, train_metadata.csv and train_labels.csv.")],
    out: Annotated[Path, typer.Option(help="Folder of this training; the same command goes on where it was.")],
    training: Annotated[str, typer.Option("--train", help="Seasons to learn from, such as S1,S2,S3.")],
    validation: Annotated[str, typer.Option("--valid", help="Seasons to validate with after each epoch.")],
    backbone: Annotated[
        str, typer.Option(help="Backbone in keras.applications, or 'tiny', 'small'.")
    ] = "InceptionResNetV2",
    schedule: Annotated[
        str | None,
        typer.Option(help="Schedule of the project, or a .toml file; default: the author's for the network."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Where the backbone starts: an .h5 file of keras.applications, or a network.")
    ] = None,
    background_network: Annotated[Path | None, typer.Option(help="two-branch: trained background network.")] = None,
    mean_network: Annotated[Path | None, typer.Option(help="two-branch: trained network on the mean image.")] = None,
    background_scaling: Annotated[
        Scaling, typer.Option(help="unit: x / 255, as the published program; symmetric, as its training code.")
    ] = Scaling.UNIT,
    head: Annotated[Head, typer.Option(help="sigmoid: each class by itself; softmax: one excludes the others.")] = (
        Head.SIGMOID
    ),
    classes: Annotated[Classes, typer.Option(help="All classes, or only whether a sequence is empty.")] = Classes.ALL,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another seed, another network.")] = 1,
    preset: Annotated[Preset, typer.Option(help="Reference resize; must be that of the bundle.")] = Preset.QUARTER,
    metadata: Annotated[Path | None, typer.Option(help="Metadata; default DATA/train_metadata.csv.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels; default DATA/train_labels.csv.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where quarter frames are kept, 0.4 MB each; default: 'frames' beside OUT.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that make images; default: one per core.")] = None,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0, help="Most minutes between two checkpoints.")] = 10.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over in a folder that has a checkpoint.")] = False,
) -> None:
    """Train a network of the ensemble from labelled seasons, killed and continued as often as need be.

    Example: hakuna train frames /seasons --train S1,S2,S3 --valid S9 --out runs/v1 --weights notop.h5
    """
    from inference.process.lock import locked
    from inference.process.progress import RunState
    from inference.process.read_timeout import ReadTimeout
    from inference.process.signals import graceful_shutdown
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

    settings = load_settings(workers=workers)
    configure_logging(settings.log_format)
    state = RunState()
    with locked(out) as folder, graceful_shutdown(state):
        # What makes no sense is told before TensorFlow is imported, which takes seconds.
        from models.data.season_labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME, check_disjoint, parse_seasons
        from models.spec.network_plan import NETWORK_NAME, NetworkPlan, check_plan
        from models.spec.schedule import load_schedule

        plan = NetworkPlan(
            kind=network,
            backbone=backbone,
            head=head,
            classes=classes,
            background_scaling=background_scaling,
            weights=weights,
            background=background_network,
            mean=mean_network,
        )
        check_plan(plan)
        seasons = parse_seasons("--train", training), parse_seasons("--valid", validation)
        check_disjoint(*seasons)
        settled = load_schedule(schedule or DEFAULT_SCHEDULES[network])
        from models.training import job as job_module
        from models.training import train as train_module

        job = job_module.TrainingJob(
            plan=plan,
            schedule=settled,
            photos=str(data),
            metadata=metadata or data / TRAIN_METADATA_NAME,
            labels=labels or data / TRAIN_LABELS_NAME,
            training_seasons=seasons[0],
            validation_seasons=seasons[1],
            preset=preset,
            seed=seed,
        )
        options = job_module.TrainingOptions(
            n_workers=settings.workers,
            cache_folder=cache or out.parent / job_module.CACHE_NAME,
            checkpoint_seconds=SECONDS_PER_MINUTE * checkpoint_minutes,
            fresh=fresh,
            read_timeout=ReadTimeout(settings.read_timeout),
        )
        report = train_module.train(job, folder, options, state)
    loss = report["last_epoch"]["validation_log_loss"]
    typer.echo(f"{out / NETWORK_NAME}: validation log loss {loss:.6f}")
