"""What the 53 species look like from the side, how they live, and how often they come by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from inference.core.labels import CLASS_PRIORS, LABELS

Colour = tuple[int, int, int]
"""RGB, 0-255."""


class Shape(StrEnum):
    """How an animal is drawn."""

    HOOFED = "hoofed"
    PAW = "paw"
    """Cats, dogs and everything low on four legs."""
    BIRD = "bird"
    FLYER = "flyer"
    CRAWLER = "crawler"


class Pattern(StrEnum):
    """What is on its coat."""

    PLAIN = "plain"
    STRIPES = "stripes"
    SPOTS = "spots"
    PATCHES = "patches"
    BAND = "band"
    """One dark band along the side."""


class Horns(StrEnum):
    """What is on its head."""

    NONE = "none"
    STRAIGHT = "straight"
    CURVED = "curved"
    TUSKS = "tusks"
    MANE = "mane"


@dataclass(frozen=True)
class Species:
    """One of the 53.

    Attributes
    ----------
    height : at the shoulder, in zebras
    length : of the body, in heights
    leg : share of the height that is leg
    neck : length, in heights
    night : share of its sightings at night
    herd : largest number of animals in one photo
    """

    label: str
    shape: Shape
    colour: Colour
    height: float
    length: float = 1.1
    leg: float = 0.5
    neck: float = 0.35
    pattern: Pattern = Pattern.PLAIN
    horns: Horns = Horns.NONE
    night: float = 0.2
    herd: int = 1


_HOOFED, _PAW, _BIRD, _FLYER, _CRAWLER = Shape
_PLAIN, _STRIPES, _SPOTS, _PATCHES, _BAND = Pattern
_NONE, _STRAIGHT, _CURVED, _TUSKS, _MANE = Horns

SPECIES: dict[str, Species] = {
    one.label: one
    for one in (
        Species("aardvark", _PAW, (150, 122, 98), 0.45, 1.7, 0.35, 0.3, night=0.98),
        Species("aardwolf", _PAW, (190, 160, 120), 0.38, 1.3, 0.5, 0.3, _STRIPES, _MANE, 0.95),
        Species("baboon", _PAW, (122, 108, 78), 0.48, 1.1, 0.5, 0.2, night=0.05, herd=5),
        Species("bat", _FLYER, (46, 38, 36), 0.10, 1.0, night=1.0),
        Species("batearedfox", _PAW, (150, 134, 112), 0.28, 1.4, 0.45, 0.25, night=0.8, herd=2),
        Species("buffalo", _HOOFED, (44, 38, 36), 1.10, 1.45, 0.40, 0.20, horns=_CURVED, night=0.4, herd=4),
        Species("bushbuck", _HOOFED, (140, 88, 54), 0.60, 1.15, 0.5, 0.35, _SPOTS, _STRAIGHT, 0.3),
        Species("caracal", _PAW, (190, 130, 84), 0.36, 1.4, 0.5, 0.2, night=0.7),
        Species("cattle", _HOOFED, (150, 106, 80), 1.00, 1.4, 0.42, 0.25, _PATCHES, _STRAIGHT, 0.05, 5),
        Species("cheetah", _PAW, (214, 178, 118), 0.60, 1.5, 0.55, 0.25, _SPOTS, night=0.1, herd=2),
        Species("civet", _PAW, (116, 110, 104), 0.32, 1.7, 0.4, 0.25, _SPOTS, night=0.98),
        Species("dikdik", _HOOFED, (142, 112, 84), 0.28, 1.2, 0.55, 0.35, night=0.3, herd=2),
        Species("duiker", _HOOFED, (136, 100, 70), 0.38, 1.25, 0.5, 0.3, night=0.4),
        Species("eland", _HOOFED, (184, 148, 108), 1.20, 1.3, 0.45, 0.35, horns=_STRAIGHT, night=0.3, herd=3),
        Species("elephant", _HOOFED, (118, 110, 104), 2.10, 1.15, 0.45, 0.12, horns=_TUSKS, night=0.3, herd=3),
        Species("gazellegrants", _HOOFED, (206, 166, 116), 0.68, 1.2, 0.55, 0.4, horns=_STRAIGHT, night=0.2, herd=4),
        Species("gazellethomsons", _HOOFED, (196, 144, 86), 0.50, 1.2, 0.55, 0.4, _BAND, _STRAIGHT, 0.1, 6),
        Species("genet", _PAW, (156, 140, 116), 0.20, 1.9, 0.4, 0.2, _SPOTS, night=1.0),
        Species("giraffe", _HOOFED, (206, 158, 92), 1.90, 0.85, 0.62, 1.0, _PATCHES, night=0.1, herd=2),
        Species("guineafowl", _BIRD, (66, 70, 88), 0.32, 1.2, 0.3, 0.3, _SPOTS, night=0.02, herd=8),
        Species("hare", _PAW, (138, 118, 92), 0.18, 1.5, 0.4, 0.15, night=0.95),
        Species("hartebeest", _HOOFED, (180, 122, 74), 0.98, 1.1, 0.55, 0.35, horns=_CURVED, night=0.2, herd=3),
        Species("hippopotamus", _HOOFED, (110, 84, 80), 1.05, 1.8, 0.25, 0.12, night=0.95),
        Species("honeybadger", _PAW, (70, 66, 64), 0.24, 1.8, 0.35, 0.15, _BAND, night=0.8),
        Species("hyenaspotted", _PAW, (158, 134, 100), 0.62, 1.3, 0.52, 0.3, _SPOTS, night=0.75, herd=2),
        Species("hyenastriped", _PAW, (150, 140, 122), 0.58, 1.25, 0.52, 0.3, _STRIPES, _MANE, 0.98),
        Species("impala", _HOOFED, (178, 112, 66), 0.68, 1.2, 0.55, 0.4, horns=_CURVED, night=0.15, herd=5),
        Species("insectspider", _FLYER, (70, 60, 44), 0.30, 1.4, night=0.5),
        Species("jackal", _PAW, (170, 142, 104), 0.34, 1.3, 0.5, 0.28, _BAND, night=0.5, herd=2),
        Species("koribustard", _BIRD, (140, 124, 104), 0.75, 1.0, 0.42, 0.5, night=0.02),
        Species("leopard", _PAW, (206, 166, 104), 0.50, 1.6, 0.45, 0.2, _SPOTS, night=0.8),
        Species("lionfemale", _PAW, (198, 162, 112), 0.75, 1.5, 0.48, 0.22, night=0.55, herd=3),
        Species("lionmale", _PAW, (192, 152, 100), 0.85, 1.45, 0.48, 0.22, horns=_MANE, night=0.6),
        Species("mongoose", _PAW, (112, 94, 72), 0.14, 2.0, 0.35, 0.2, _STRIPES, night=0.05, herd=6),
        Species("monkeyvervet", _PAW, (140, 136, 120), 0.30, 1.2, 0.5, 0.2, night=0.02, herd=3),
        Species("ostrich", _BIRD, (40, 36, 38), 1.50, 0.75, 0.55, 0.85, night=0.05, herd=2),
        Species("otherbird", _FLYER, (84, 72, 66), 0.22, 1.3, night=0.05),
        Species("porcupine", _PAW, (58, 52, 50), 0.36, 1.5, 0.25, 0.15, _STRIPES, _MANE, 0.99),
        Species("reedbuck", _HOOFED, (170, 136, 94), 0.62, 1.2, 0.5, 0.38, horns=_CURVED, night=0.5, herd=2),
        Species("reptiles", _CRAWLER, (96, 92, 70), 0.10, 6.0, night=0.05),
        Species("rhinoceros", _HOOFED, (112, 104, 98), 1.25, 1.6, 0.35, 0.15, horns=_TUSKS, night=0.4),
        Species("rodents", _PAW, (116, 98, 78), 0.08, 1.7, 0.3, 0.1, night=0.95),
        Species("secretarybird", _BIRD, (160, 160, 162), 0.85, 0.7, 0.55, 0.4, night=0.02),
        Species("serval", _PAW, (206, 170, 112), 0.42, 1.25, 0.55, 0.25, _SPOTS, night=0.65),
        Species("steenbok", _HOOFED, (176, 116, 72), 0.38, 1.15, 0.55, 0.38, horns=_STRAIGHT, night=0.3),
        Species("topi", _HOOFED, (112, 66, 48), 0.95, 1.1, 0.55, 0.35, _BAND, _CURVED, 0.2, 3),
        Species("vulture", _BIRD, (96, 80, 66), 0.55, 0.9, 0.25, 0.3, night=0.02, herd=4),
        Species("warthog", _PAW, (110, 92, 78), 0.52, 1.4, 0.4, 0.15, horns=_TUSKS, night=0.05, herd=3),
        Species("waterbuck", _HOOFED, (118, 104, 90), 0.95, 1.2, 0.48, 0.38, horns=_CURVED, night=0.3, herd=2),
        Species("wildcat", _PAW, (140, 124, 102), 0.24, 1.4, 0.45, 0.18, _STRIPES, night=0.9),
        Species("wildebeest", _HOOFED, (86, 78, 74), 1.00, 1.2, 0.50, 0.28, _PLAIN, _CURVED, 0.25, 7),
        Species("zebra", _HOOFED, (226, 222, 214), 1.00, 1.25, 0.48, 0.38, _STRIPES, night=0.25, herd=5),
        Species("zorilla", _PAW, (40, 38, 38), 0.12, 2.0, 0.3, 0.15, _BAND, night=1.0),
    )
}

EMPTY_LABEL = "empty"
ANIMALS: tuple[str, ...] = tuple(label for label in LABELS if label != EMPTY_LABEL)
EMPTY_SHARE = CLASS_PRIORS[EMPTY_LABEL]
ANIMAL_SHARES = np.array([CLASS_PRIORS[label] for label in ANIMALS]) / sum(CLASS_PRIORS[label] for label in ANIMALS)
"""float64 (53,): what an animal is, given that there is one: the priors of the published program."""
SEEN_ONCE = frozenset(label for label, one in SPECIES.items() if one.shape is Shape.FLYER)
"""Gone before the next frame."""
COMPANIONS = {"zebra": "wildebeest", "wildebeest": "zebra", "gazellegrants": "gazellethomsons"}
"""Species that graze together: a few sequences show both."""
