"""Which ranks hold which part of a tensor, as a rectangle shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..mesh import TensorLayout

_FINEST = 32  # segments of a side that can still be told apart


class Part(NamedTuple):
    """A part of a rectangle, all of it from 0 to 1, and the ranks that hold it."""

    top: float
    bottom: float
    left: float
    right: float
    ranks: tuple[int, ...]


class Shown(NamedTuple):
    """A tensor folded to a rectangle of `rows` by `columns`."""

    name: str
    shape: tuple[int, ...]
    layout: TensorLayout
    rows: int
    columns: int
    parts: list[Part]


class _Segment(NamedTuple):
    """A part of a dimension, from 0 to 1."""

    start: float
    stop: float
    ranks: frozenset[int]


def shown(name: str, shape: Sequence[int], layout: TensorLayout) -> Shown:
    """A tensor of any number of dimensions: its first ones are the rows, its last ones the columns; as square as can be
    with each split on a side of its own. Where one side has several, those of the later dimension lie inside those of
    the earlier."""
    sides = [_segments(d, shape, layout) for d in range(len(shape))]
    folds = range(min(1, len(shape) - 1), len(shape)) if len(shape) > 0 else range(1)

    def crowded(at: int) -> tuple[int, float]:
        splits = [sum(len(side) > 1 for side in half) for half in (sides[:at], sides[at:])]
        ratio = max(math.prod(shape[:at]), 1) / max(math.prod(shape[at:]), 1)
        return sum(max(0, n - 1) for n in splits), abs(math.log(ratio))

    at = min(folds, key=crowded)
    everyone = frozenset(layout.device_mesh.ranks)
    parts = []
    if math.prod(shape) > 0:
        for top, bottom, above in _nested(sides[:at], everyone):
            for left, right, beside in _nested(sides[at:], everyone):
                if above & beside:
                    parts.append(Part(top, bottom, left, right, tuple(sorted(above & beside))))
    return Shown(name, tuple(shape), layout, math.prod(shape[:at]), math.prod(shape[at:]), parts)


def _segments(dim: int, shape: Sequence[int], layout: TensorLayout) -> list[_Segment]:
    size = shape[dim]
    runs = {}
    for rank in layout.device_mesh.ranks:
        held = layout._object.local_indices(rank, list(shape))[dim]
        runs[rank] = [(start, start + length) for start, length in held]
    cuts = sorted({end for ends in runs.values() for run in ends for end in run} | {0, size})
    if len(cuts) > _FINEST + 1:
        cuts = sorted({size * i // _FINEST for i in range(_FINEST + 1)})
    out = []
    for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
        ranks = frozenset(r for r, ends in runs.items() if any(a <= start < b for a, b in ends))
        out.append(_Segment(start / size, stop / size, ranks))
    return out


def _nested(sides: Sequence[list[_Segment]], everyone: frozenset[int]) -> Iterator[_Segment]:
    """The segments of several dimensions, each one's inside those of the one before."""
    if not sides:
        yield _Segment(0.0, 1.0, everyone)
        return
    for outer in sides[0]:
        for inner in _nested(sides[1:], everyone):
            length = outer.stop - outer.start
            start, stop = outer.start + inner.start * length, outer.start + inner.stop * length
            yield _Segment(start, stop, outer.ranks & inner.ranks)


def ranks_text(ranks: Sequence[int], everyone: int) -> str:
    """ "all", "0, 2" or "0-3, 8"."""
    if len(ranks) == everyone:
        return "all"
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)
