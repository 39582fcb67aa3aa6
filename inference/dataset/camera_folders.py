"""Which camera a folder of photos belongs to: the one rule for `metadata`, `export` and `score`."""

import re
from collections import defaultdict
from collections.abc import Iterable

from inference.core.sequences import Sequence

CARD_FOLDER = "DCIM"
DCF_FOLDER = re.compile(r"[1-9][0-9]{2}[A-Z0-9_]{5}")
"""What cameras call the folders below it: 100 to 999 and five free characters (DCF 2.0; JEITA CP-3461), as `100RECNX`."""
SURELY_DCF_FOLDER = re.compile(r"[1-9][0-9]{2}(?=.*[A-Z])[A-Z0-9_]{5}")
"""The same with a letter: `20190612` is a date."""
NUMBER_CHARACTERS = 3
TOP = "."


def plain_path(file_name: str) -> str:
    """The path without parts that lead nowhere: `./a//b.jpg` is `a/b.jpg`."""
    if not file_name.startswith("./") and "//" not in file_name and "/./" not in file_name:
        return file_name
    first, *others = file_name.split("/")
    kept = [part for part in others if part not in ("", ".")]
    return "/".join(kept if first == "." else [first, *kept])


def folder_of(file_name: str) -> str:
    """The folder of a photo; "" is the top."""
    return plain_path(file_name).rpartition("/")[0]


def camera_folders(folders: Iterable[str]) -> dict[str, str]:
    """The folder that stands for a camera, for every folder that holds photos; "." where that is the top.

    `hill/DCIM/100RECNX` and `hill/DCIM/101RECNX` are `hill`. Without `DCIM` between them a name such as `101NORTH` may be a
    person's: it is left out only below another folder, and only where all such names there have the same five letters, as
    those of one camera have. So what people called different things is never one camera.
    """
    known = set(folders)
    free_parts: dict[str, set[str]] = defaultdict(set)
    for folder in known:
        parent, _, name = folder.rpartition("/")
        if parent and SURELY_DCF_FOLDER.fullmatch(name):
            free_parts[parent].add(name[NUMBER_CHARACTERS:])

    def camera_of(folder: str) -> str:
        parent, _, name = folder.rpartition("/")
        if name.upper() == CARD_FOLDER:
            return parent
        above, _, card = parent.rpartition("/")
        if card.upper() == CARD_FOLDER and DCF_FOLDER.fullmatch(name.upper()):
            return above
        return parent if SURELY_DCF_FOLDER.fullmatch(name) and len(free_parts[parent]) == 1 else folder

    return {folder: camera_of(folder) or TOP for folder in known}


def cameras_of(sequences: Iterable[Sequence]) -> dict[str, str]:
    """The camera's folder of the first photo of every sequence, by its id; all have photos."""
    folders = {one.seq_id: [folder_of(image.file_name) for image in one.images] for one in sequences}
    cameras = camera_folders({folder for several in folders.values() for folder in several})
    return {seq_id: cameras[several[0]] for seq_id, several in folders.items()}
