"""Place and time of each sequence: the groups for breaking down scores and for the bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.core.errors import InputError
from inference.dataset.camera_folders import cameras_of
from inference.dataset.metadata import PUBLIC_SEQ_ID, SITE_COLUMN, Metadata, moment_of, read_metadata, read_sites

DAY_HOURS = range(6, 19)
"""6:00 to 18:59. In the Serengeti (2 degrees south, UTC+3) the sun rises from 6:20 to 6:55 and sets 12 hours later."""
MANY_FRAMES = 4
"""Sequences with this many frames or more are counted together."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stratum:
    """One way to group N sequences; `codes`, int64 (N,), are indices into `names`."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]


def strata_of(seq_ids: Sequence[str], metadata_path: Path | None, sites_path: Path | None = None) -> dict[str, Stratum]:
    """Groupings of some sequences from their ids, metadata and a list of sites.

    By name: season, site, hour, light, frames. Unknown groupings are left out.

    The site comes from `sites_path` (`seq_id, site`), otherwise from the metadata's column, otherwise from a public id,
    otherwise from the folder of the first photo, if there are several folders and no public ids.
    Raises InputError for unreadable files, for a list that lacks a sequence, and for metadata of other sequences.
    """
    known = _listed_sites(seq_ids, sites_path) if sites_path else {}
    metadata = read_metadata(metadata_path) if metadata_path else None
    if metadata and seq_ids and not any(seq_id in metadata.sequences for seq_id in seq_ids):
        raise InputError(f"{metadata_path}: must be the metadata of the predicted sequences, got none of them")
    matches = [PUBLIC_SEQ_ID.fullmatch(seq_id) for seq_id in seq_ids]
    groups = {}
    folders: dict[str, str] = {}
    if metadata:
        groups = _from_metadata(seq_ids, metadata)
        known = {**{one.seq_id: one.site.strip() for one in metadata.sequences.values() if one.site.strip()}, **known}
        folders = {} if any(matches) else cameras_of(metadata.sequences.values())
    if any(matches):
        groups["season"] = _group([match["season"] if match else UNKNOWN for match in matches])
    sites = [
        known.get(seq_id) or (match["site"] if match else folders.get(seq_id, UNKNOWN))
        for seq_id, match in zip(seq_ids, matches, strict=True)
    ]
    if any(matches) or any(map(known.get, seq_ids)) or len(set(sites)) > 1:
        groups["site"] = _group(sites)
    return {name: groups[name] for name in ("season", "site", "hour", "light", "frames") if name in groups}


def n_unknown(stratum: Stratum) -> int:
    """The number of sequences whose group is unknown."""
    return int((np.array(stratum.names)[stratum.codes] == UNKNOWN).sum())


def _listed_sites(seq_ids: Sequence[str], path: Path) -> dict[str, str]:
    """The sites of a list; empty cells count as unknown. Raises InputError if it lacks a sequence."""
    sites = read_sites(path)
    if not sites:
        raise InputError(f"{path}, row 1: must have the columns seq_id, {SITE_COLUMN}")
    missing = [seq_id for seq_id in seq_ids if seq_id not in sites]
    if missing:
        raise InputError(f"{path}: must hold the site of every sequence, got {len(missing)} missing {missing[:3]}")
    return {seq_id: site for seq_id, site in sites.items() if site}


def _from_metadata(seq_ids: Sequence[str], metadata: Metadata) -> dict[str, Stratum]:
    sequences = [metadata.sequences.get(seq_id) for seq_id in seq_ids]
    hours = [moment.hour if one and (moment := moment_of(one, with_time=True)) else None for one in sequences]
    counts = [len(one.images) if one else None for one in sequences]
    frames = [UNKNOWN if n is None else f"{n}" if n < MANY_FRAMES else f"{MANY_FRAMES} or more" for n in counts]
    return {
        "hour": _group([UNKNOWN if hour is None else f"{hour:02d}" for hour in hours]),
        "light": _group([UNKNOWN if hour is None else "day" if hour in DAY_HOURS else "night" for hour in hours]),
        "frames": _group(frames),
    }


def _group(values: list[str]) -> Stratum:
    names, codes = np.unique(values, return_inverse=True)
    return Stratum(tuple(names.tolist()), codes.astype(np.int64))
