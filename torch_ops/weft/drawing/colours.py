"""The colours of ranks: along the mesh's last axis in hues, along the others in shades of them."""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Sequence

from ..mesh import DeviceMesh

EVERYWHERE = (0xE3, 0xE7, 0xEC)
INK, FAINT = "#2b2f36", "#8a919c"
_HUES = [(0x2F, 0x6F, 0xB0), (0xD9, 0x82, 0x2B), (0x3C, 0x8D, 0x5A), (0x7A, 0x56, 0xA8)]  # blue, orange, green, violet
_PALEST = 0.55  # of the way to white

Colour = tuple[int, int, int]


@functools.lru_cache(maxsize=64)
def _of_ranks(mesh: DeviceMesh) -> dict[int, Colour]:
    columns = mesh.shape[-1]
    hues = _HUES[:columns]
    if columns > len(_HUES):
        turns = (colorsys.hsv_to_rgb(0.58 + i / columns, 0.73, 0.69) for i in range(columns))
        hues = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in turns]
    rows = math.prod(mesh.shape[:-1])
    found = {}
    for place, rank in enumerate(mesh.ranks):
        row, column = divmod(place, columns)
        found[rank] = _paler(hues[column], _PALEST * row / max(rows - 1, 1))
    return found


def _paler(colour: Colour, share: float) -> Colour:
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def colour_of(ranks: Sequence[int], mesh: DeviceMesh) -> Colour:
    """The colour of a part that these ranks hold: the mean of theirs; grey where all do."""
    if len(ranks) == mesh.size:
        return EVERYWHERE
    shades = [_of_ranks(mesh)[rank] for rank in ranks]
    r, g, b = (round(sum(channel) / len(shades)) for channel in zip(*shades, strict=True))
    return r, g, b


def as_hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink_on(colour: Colour) -> str:
    """The colour of text on it."""
    return "#ffffff" if sum(colour) < 1.6 * 255 else INK
