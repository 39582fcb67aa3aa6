"""`hakuna pack`."""

from pathlib import Path
from typing import Annotated

import typer


def pack(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(help="Archive to write.")] = Path("submission.zip"),
) -> None:
    """Pack a bundle and the program that runs it into an archive for the competition. The same bundle, the same bytes.

    Examples:
        hakuna pack --bundle bundles/third_place --out submission.zip
    """
    from inference.bundle.reader import open_bundle
    from models.bundling.pack import pack as write_archive

    packed = write_archive(open_bundle(bundle), out)
    typer.echo(f"{out}: {packed.n_members} files, {packed.n_bytes:,} bytes, SHA-256 {packed.sha256}")
