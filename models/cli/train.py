"""`hakuna train`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import Restart, Workers
from inference.cli.printing import say
from inference.cli.session import session
from inference.core.choices import Preset
from inference.core.errors import InputError
from models.spec.kinds import DEFAULT_SCHEDULES, Classes, Head, NetworkKind, Scaling


def train(
    network: Annotated[NetworkKind, typer.Argument(help="Input of the network.")],
    data: Annotated[Path, typer.Argument(help="Folder with the photos, train_metadata.csv and train_labels.csv.")],
    out: Annotated[Path, typer.Option(help="Folder of this training; the same command resumes it.")],
    training: Annotated[str, typer.Option("--train", help="Seasons to train on, such as S1,S2,S3.")],
    validation: Annotated[str, typer.Option("--valid", help="Seasons to validate on after each epoch.")],
    backbone: Annotated[
        str, typer.Option(help="Backbone in keras.applications, or 'tiny', 'small'.")
    ] = "InceptionResNetV2",
    schedule: Annotated[
        str | None,
        typer.Option(help="Schedule of the project, or a .toml file; default: the author's schedule of the network."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights of the backbone: an .h5 file of keras.applications, or a network. Default: random."
        ),
    ] = None,
    background_network: Annotated[
        Path | None, typer.Option(help="two-branch: trained background network. Default: none.")
    ] = None,
    mean_network: Annotated[
        Path | None, typer.Option(help="two-branch: trained network on the mean image. Default: none.")
    ] = None,
    background_scaling: Annotated[
        Scaling, typer.Option(help="unit: x / 255, as in the published program; symmetric, as in its training code.")
    ] = Scaling.UNIT,
    head: Annotated[Head, typer.Option(help="sigmoid: independent classes; softmax: mutually exclusive classes.")] = (
        Head.SIGMOID
    ),
    classes: Annotated[Classes, typer.Option(help="All classes, or only whether a sequence is empty.")] = Classes.ALL,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 1,
    resize: Annotated[Preset, typer.Option(help="Reference resize; must be that of the bundle.")] = Preset.QUARTER,
    metadata: Annotated[Path | None, typer.Option(help="Metadata; default DATA/train_metadata.csv.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels; default DATA/train_labels.csv.")] = None,
    labelled_only: Annotated[
        bool, typer.Option("--labelled-only", help="Leave out sequences without labels, and count them.")
    ] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder of cached quarter frames, 0.4 MB each; default: 'frames' next to OUT.")
    ] = None,
    workers: Workers = None,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0, help="Maximum minutes between two checkpoints.")] = 10.0,
    restart: Restart = False,
) -> None:
    """Train a network of the ensemble from labelled seasons, interrupted and resumed as often as needed.

    Examples:
        hakuna train frames /seasons --train S1,S2,S3 --valid S9 --out runs/v1 --weights notop.h5
    """
    from inference.core.files import check_folder
    from inference.process.lock import locked
    from inference.process.read_timeout import ReadTimeout
    from inference.settings.packages import require
    from inference.settings.settings import load_settings
    from models.data.season_labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME, check_disjoint, parse_seasons
    from models.spec.network_plan import NETWORK_NAME, NetworkPlan, check_plan
    from models.spec.schedule import load_schedule
    from models.training.job import CACHE_NAME, TrainingJob, TrainingOptions, check_training_folder

    settings = load_settings(workers=workers)
    plan = NetworkPlan(network, backbone, head, classes, background_scaling, weights, background_network, mean_network)
    check_plan(plan)
    training_seasons, validation_seasons = parse_seasons("--train", training), parse_seasons("--valid", validation)
    check_disjoint(training_seasons, validation_seasons)
    job = TrainingJob(
        plan=plan,
        schedule=load_schedule(schedule or DEFAULT_SCHEDULES[network]),
        photos=str(data),
        metadata=metadata or data / TRAIN_METADATA_NAME,
        labels=labels or data / TRAIN_LABELS_NAME,
        training_seasons=training_seasons,
        validation_seasons=validation_seasons,
        preset=resize,
        seed=seed,
        labelled_only=labelled_only,
    )
    options = TrainingOptions(
        n_workers=settings.workers,
        cache_folder=cache_dir or out.parent / CACHE_NAME,
        checkpoint_seconds=60 * checkpoint_minutes,
        fresh=restart,
        read_timeout=ReadTimeout(settings.read_timeout),
    )
    check_folder(data, InputError, "a folder with photos")
    check_training_folder(out, data)
    if missing := next((path for path in (job.metadata, job.labels) if not path.exists()), None):
        raise InputError(f"{missing}: must be a readable CSV file, got none")
    require("tensorflow")
    with session(shows_log=True) as run, locked(out) as folder:
        from models.training.train import train as train_network  # TensorFlow: seconds

        report = train_network(job, folder, options, run.state)
    loss = report["last_epoch"]["validation_log_loss"]
    say(f"{out / NETWORK_NAME}: validation log loss {loss:.6f}")
