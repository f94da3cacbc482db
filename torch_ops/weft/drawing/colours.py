"""The colours of ranks: along the mesh's last axis in hues, along the others in shades of them."""

from __future__ import annotations

import colorsys
import functools
import itertools
import math
from collections.abc import Sequence

from ..mesh import DeviceMesh

EVERYWHERE = (0xE3, 0xE7, 0xEC)
INK, FAINT = "#2b2f36", "#8a919c"
_HUES = [(0x2F, 0x6F, 0xB0), (0xD9, 0x82, 0x2B), (0x3C, 0x8D, 0x5A), (0x7A, 0x56, 0xA8)]  # blue, orange, green, violet
_PALEST = 0.55  # of the way to white

Colour = tuple[int, int, int]
Place = tuple[int, ...]  # coordinates on a mesh


@functools.lru_cache(maxsize=64)
def _places(mesh: DeviceMesh) -> dict[int, Place]:
    return dict(zip(mesh.ranks, itertools.product(*map(range, mesh.shape)), strict=True))


@functools.lru_cache(maxsize=64)
def _of_places(shape: tuple[int, ...], turn: int) -> dict[Place, Colour]:
    """The last coordinate's hue, paler row by row. `turn` has the hues begin elsewhere."""
    *above, columns = shape
    hues = [_HUES[(column + 2 * turn) % len(_HUES)] for column in range(columns)]
    if columns > len(_HUES):
        turns = (colorsys.hsv_to_rgb((0.58 + (i + turn / 2) / columns) % 1, 0.73, 0.69) for i in range(columns))
        hues = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in turns]
    rows = math.prod(above)
    found = {}
    for row, place in enumerate(itertools.product(*map(range, above))):
        for column, hue in enumerate(hues):
            found[(*place, column)] = _paler(hue, _PALEST * row / max(rows - 1, 1))
    return found


def _paler(colour: Colour, share: float) -> Colour:
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def colour_of(ranks: Sequence[int], mesh: DeviceMesh) -> Colour:
    """The colour of a part that these ranks hold: the mean of theirs; grey where all do. Where the part is the same all
    along the last axes, hues are along the last of the others, so that such parts can be told apart as well."""
    if len(ranks) == mesh.size:
        return EVERYWHERE
    places = [_places(mesh)[rank] for rank in ranks]
    split = [d for d, size in enumerate(mesh.shape) if len({place[d] for place in places}) < size]
    last = (split or [len(mesh.shape) - 1])[-1]
    colours = _of_places(tuple(mesh.shape[: last + 1]), len(mesh.shape) - 1 - last)
    shades = [colours[place[: last + 1]] for place in places]
    r, g, b = (round(sum(channel) / len(shades)) for channel in zip(*shades, strict=True))
    return r, g, b


def as_hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink_on(colour: Colour) -> str:
    """The colour of text on it."""
    return "#ffffff" if sum(colour) < 1.6 * 255 else INK
