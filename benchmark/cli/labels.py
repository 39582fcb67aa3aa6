"""`hakuna labels`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import Force, check_file
from inference.cli.printing import say
from inference.core.errors import UsageError, counted


def labels(
    found: Annotated[
        Path, typer.Argument(metavar="LIST", help="CSV with the columns label and file_name or seq_id, in any order.")
    ],
    metadata: Annotated[Path, typer.Option(help="Metadata of the photos.")],
    out: Annotated[Path, typer.Option(help="Labels to write: seq_id and 54 columns of 0 and 1.")],
    force: Force = False,
) -> None:
    """Make the table of labels for `score`, `report` and `train` from a list with a row for each photo or burst and label.

    A burst has every label of its photos; empty counts where no photo of the burst shows an animal.

    Examples:
        hakuna labels found.csv --metadata metadata.csv --out labels.csv
    """
    from inference.core.files import make_parent
    from inference.dataset.label_list import read_label_list, write_labels
    from inference.dataset.metadata import read_metadata

    if out.resolve() in {found.resolve(), metadata.resolve()}:
        raise UsageError(f"--out {out}: must be another file than LIST and --metadata")
    check_file("--out", out, force)
    sequences = read_metadata(metadata).sequences
    labelled = read_label_list(found, sequences, metadata)
    make_parent(out)
    write_labels(out, labelled)
    n_different = len(set().union(*labelled.values()))
    say(f"{counted(len(labelled), 'sequence')} of {len(sequences):,} with {counted(n_different, 'label')} -> {out}")
