"""`hakuna bundle` and `hakuna pack`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import Force, MaxLossIncrease, Metadata, check_file, check_package, command_group
from inference.cli.printing import say
from inference.cli.session import working
from inference.core.errors import BundleError, counted
from inference.core.files import check_folder, make_parent
from models.spec.kinds import DEFAULT_CONTRACT

ContractName = Annotated[str, typer.Option(help="Name of a contract of the project, or path of a .toml file.")]


def import_(
    assets: Annotated[Path, typer.Argument(help="Folder with the .h5 networks and booster folders.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe of the project, or path of a .toml file.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    force: Force = False,
) -> None:
    """Freeze Keras networks and boosters into a bundle, and check that their outputs are unchanged.

    Examples:
        hakuna bundle import assets --recipe third_place --out bundles/third_place
    """
    from inference.bundle.manifest import MANIFEST_NAME
    from models.spec.recipe import load_recipe

    loaded = load_recipe(recipe)
    check_package("--out", out, force, MANIFEST_NAME)
    check_folder(assets, BundleError, "the folder with the networks and boosters")
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings
    from models.bundling.import_assets import import_assets

    configure_logging(load_settings().log_format)
    with working("freezing and comparing the networks") as on_progress:
        bundle = import_assets(assets, loaded, out, force=force, on_progress=on_progress)
    say(f"bundle {bundle.manifest.name} {bundle.id[:12]} -> {out}")


def build(
    recipe: Annotated[str, typer.Option(help="Name of a recipe of the project, or path of a .toml file.")],
    networks: Annotated[
        Path, typer.Option(help="Folder of trainings, one for each network: NETWORKS/NAME/network.h5.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    stackers: Annotated[
        Path | None,
        typer.Option(help="Folder with the recipe's booster folders. Default: none, for a bundle without stackers."),
    ] = None,
    force: Force = False,
) -> None:
    """Combine trained networks and stackers into a bundle. Without stackers it is for making their training records.

    Examples:
        hakuna bundle build --recipe third_place --networks runs --stackers stackers --out bundles/mine
    """
    from inference.bundle.manifest import MANIFEST_NAME
    from models.spec.recipe import load_recipe

    loaded = load_recipe(recipe)
    check_package("--out", out, force, MANIFEST_NAME)
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings
    from models.bundling.build import build_bundle

    configure_logging(load_settings().log_format)
    with working("freezing and comparing the networks") as on_progress:
        bundle = build_bundle(loaded, networks, stackers, out, force=force, on_progress=on_progress)
    say(f"bundle {bundle.manifest.name} {bundle.id[:12]} -> {out}")


def quantize(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    photos: Annotated[Path, typer.Option(help="Folder with photos, like DATA of `hakuna predict`.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    metadata: Metadata = None,
    max_loss_increase: MaxLossIncrease = None,
    force: Force = False,
) -> None:
    """Copy a bundle and add its networks in int8: about a quarter of the bytes, and faster on many CPUs.

    Half of the photos calibrate the networks. The others show by how much the expected log loss increases. Layers stay in
    float32 until the increase is small enough; if it never is, nothing is written.

    Examples:
        hakuna bundle quantize bundles/third_place --photos /data --out bundles/third_place_int8
    """
    from inference.bundle.manifest import MANIFEST_NAME
    from inference.bundle.reader import open_bundle

    check_package("--out", out, force, MANIFEST_NAME)
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings
    from models.bundling.quantize import quantize_bundle
    from models.cli.tables import int8_lines

    settings = load_settings(max_loss_increase=max_loss_increase)
    configure_logging(settings.log_format)
    with working("quantising and comparing the networks") as on_progress:
        made = quantize_bundle(
            open_bundle(bundle),
            photos,
            out,
            settings.max_loss_increase,
            metadata=metadata,
            force=force,
            on_progress=on_progress,
        )
    say("\n".join([*int8_lines(made.manifest), f"bundle {made.manifest.name} {made.id[:12]} -> {out}"]))


def verify(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Check every file of a bundle against its manifest, and load and call its networks (in every engine) and boosters.

    Every network must answer fixed noise with probabilities, in int8 too, and the same in both formats of float32.

    Examples:
        hakuna bundle verify bundles/third_place
    """
    from inference.bundle.reader import open_bundle

    with working("loading every network and booster"):
        opened = open_bundle(bundle)  # before imports that a refusal need not wait for
        from inference.bundle.graph_check import check_networks
        from inference.core.choices import EngineName, Precision
        from inference.ensemble.booster_probe import probe_boosters
        from inference.networks.engine import has_int8, installed_engines, probe_networks
        from models.bundling.openvino_files import check_formats

        check_networks(opened)
        probe_boosters(opened)
        for engine in installed_engines():
            probe_networks(opened, engine, lambda: None)
            if engine.name is EngineName.OPENVINO and has_int8(opened):
                probe_networks(opened, engine, lambda: None, Precision.INT8)
        check_formats(opened)
    say(f"{bundle}: intact, {counted(len(opened.manifest.files), 'file')}, bundle {opened.id[:12]}")


def show(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Show the content of a bundle.

    Examples:
        hakuna bundle show bundles/third_place
    """
    from models.cli.tables import show_bundle

    show_bundle(bundle)


def pack(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(help="Archive to write.")] = Path("submission.zip"),
    contract: ContractName = DEFAULT_CONTRACT,
    budget: Annotated[
        str | None,
        typer.Option(help="Time limit of the competition, such as 8h or 90m; default: the contract's."),
    ] = None,
    force: Force = False,
) -> None:
    """Pack a bundle and the program that runs it into an archive for a competition. Archives are reproducible.

    The program in the archive ends itself after 31/32 of the time limit, so that starting and unpacking fit in, too.

    Examples:
        hakuna pack --bundle bundles/third_place --out submission.zip
        hakuna pack --bundle bundles/third_place --contract code_execution --out submission.zip
    """
    from models.spec.contract import load_contract

    loaded = load_contract(contract)
    from inference.bundle.reader import open_bundle
    from inference.settings.settings import load_settings
    from models.bundling.pack import pack as write_archive

    if budget:
        loaded = loaded.model_copy(update={"time_limit": load_settings(budget=budget).budget})
    check_file("--out", out, force)
    opened = open_bundle(bundle)
    make_parent(out)
    packed = write_archive(opened, out, loaded)
    say(f"{out}: {counted(packed.n_members, 'file')}, {packed.n_bytes:,} bytes, SHA-256 {packed.sha256}")


app = command_group("Make, check and show model bundles.", import_, build, quantize, verify, show)
