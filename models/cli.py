"""`hakuna bundle ...`: make, check and show model bundles; `hakuna pack`: hand one in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
