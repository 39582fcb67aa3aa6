"""`hakuna bundle`, `train`, `stack`, `pack`: the only place of the package that prints for people."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from inference.domain import Preset, UsageError
from models.kinds import DEFAULT_SCHEDULES, Classes, Head, Kind, Scaling

SECONDS_PER_MINUTE = 60

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, check and show model bundles.")


@app.command("import")
def import_(
    assets: Annotated[Path, typer.Argument(help="Folder with the .h5 networks and booster folders.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe of the project, or path of a .toml file.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not exist.")],
) -> None:
    """Freeze Keras networks and boosters into a bundle, and prove that they still answer the same.

    Example: hakuna bundle import assets --recipe third_place --out bundles/third_place
    """
    from inference.logs import configure_logging
    from models.importing import import_assets
    from models.recipes import load_recipe

    configure_logging("auto")
    bundle = import_assets(assets, load_recipe(recipe), out)
    typer.echo(f"bundle {bundle.manifest.name} {bundle.id[:12]} -> {out}")


@app.command()
def build(
    recipe: Annotated[str, typer.Option(help="Name of a recipe of the project, or path of a .toml file.")],
    networks: Annotated[
        Path, typer.Option(help="Folder of trainings, one for each network: NETWORKS/NAME/network.h5.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; must not exist.")],
    stackers: Annotated[
        Path | None,
        typer.Option(help="Folder with the recipe's booster folders; without it the bundle has no stackers."),
    ] = None,
) -> None:
    """Put trained networks and stackers together to a bundle. Without stackers it makes their training records.

    Example: hakuna bundle build --recipe third_place --networks runs --stackers stackers --out bundles/mine
    """
    from inference.logs import configure_logging
    from models.building import build_bundle
    from models.recipes import load_recipe

    configure_logging("auto")
    bundle = build_bundle(load_recipe(recipe), networks, stackers, out)
    typer.echo(f"bundle {bundle.manifest.name} {bundle.id[:12]} -> {out}")


@app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Check every file of a bundle against its manifest, the operations of its networks and the text of its boosters.

    Example: hakuna bundle verify bundles/third_place
    """
    from inference.booster_trial import try_boosters
    from inference.bundle import open_bundle
    from inference.saved_model import check_networks

    opened = open_bundle(bundle)
    check_networks(opened)
    try_boosters(opened)
    typer.echo(f"{bundle}: intact, {len(opened.manifest.files)} files, bundle {opened.id[:12]}")


@app.command()
def show(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Tell what is in a bundle.

    Example: hakuna bundle show bundles/third_place
    """
    from models.showing import show_bundle

    show_bundle(bundle)


def pack(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(help="Archive to write.")] = Path("submission.zip"),
) -> None:
    """Pack a bundle and the program that runs it into an archive for the competition. The same bundle, the same bytes.

    Example: hakuna pack --bundle bundles/third_place --out submission.zip
    """
    from models.packing import pack as write_archive

    packed = write_archive(bundle, out)
    typer.echo(f"{out}: {packed.n_members} files, {packed.n_bytes:,} bytes, SHA-256 {packed.sha256}")


def train(
    network: Annotated[Kind, typer.Argument(help="What the network looks at.")],
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
    from inference.logs import configure_logging
    from inference.run_state import RunState, locked, stopping_on_signals
    from inference.settings import load_settings

    settings = load_settings(workers=workers)
    configure_logging(settings.log_format)
    state = RunState()
    with locked(out) as folder, stopping_on_signals(state):
        # What makes no sense is told before TensorFlow is imported, which takes seconds.
        from models.labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME, check_apart, parse_seasons
        from models.network_plan import NetworkPlan, check_plan
        from models.schedule import load_schedule

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
        check_apart(*seasons)
        settled = load_schedule(schedule or DEFAULT_SCHEDULES[network])
        from models import training as training_run

        job = training_run.TrainingJob(
            plan=plan,
            schedule=settled,
            data_folder=data,
            metadata=metadata or data / TRAIN_METADATA_NAME,
            labels=labels or data / TRAIN_LABELS_NAME,
            training_seasons=seasons[0],
            validation_seasons=seasons[1],
            preset=preset,
            seed=seed,
        )
        options = training_run.TrainingOptions(
            n_workers=settings.workers,
            cache_folder=cache or out.parent / training_run.CACHE_NAME,
            checkpoint_seconds=SECONDS_PER_MINUTE * checkpoint_minutes,
            fresh=fresh,
        )
        report = training_run.train(job, folder, options, state)
    loss = report["last_epoch"]["validation_log_loss"]
    typer.echo(f"{out / training_run.NETWORK_NAME}: validation log loss {loss:.6f}")


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
    from inference.logs import configure_logging
    from inference.run_state import RunState, locked, stopping_on_signals
    from inference.settings import load_settings

    settings = load_settings(workers=workers)
    configure_logging(settings.log_format)
    state = RunState()
    if reverse_out and out.resolve() == reverse_out.resolve():
        raise UsageError(f"--out, --reverse-out: must be different folders, got {out} twice")
    with ExitStack() as entered:
        for folder in (out, reverse_out) if reverse_out else (out,):
            entered.enter_context(locked(folder))
        entered.enter_context(stopping_on_signals(state))
        from models.recipes import load_recipe
        from models.stacking import StackingOptions
        from models.stacking_run import StackingJob, stack
        from models.stacking_table import print_outcome

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
        for outcome in stack(job, options, state):
            print_outcome(outcome)
