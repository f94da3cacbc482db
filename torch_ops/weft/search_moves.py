"""Where a search begins, and what it tries next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from . import layouts as made
from .layout_map import LayoutMap
from .layouts.structure import Finder
from .search_kinds import Space, Split, on_axis
from .tensors import tensors_in


class Point(NamedTuple):
    """A layout of a model: the axes that split the batch, and a split for each kind of variable."""

    batch_axis: tuple[str, ...]
    splits: tuple[Split, ...]


class Moves:
    """What there is to try for a model on a mesh.

    Args:
        batch_axis: None: any axes may split the batch.
    """

    def __init__(self, model: torch.nn.Module, space: Space, inputs: Any, batch_axis: tuple[str, ...] | None) -> None:
        self._model, self._space = model, space
        mesh = space.mesh
        self._axes = [name for name, size in zip(mesh.axis_names, mesh.shape, strict=True) if size > 1]
        rows = min((t.shape[0] for t in tensors_in(inputs) if t.dim()), default=1)
        self.batches = (
            [batch_axis]
            if batch_axis is not None
            else [
                axes
                for n in range(len(self._axes), -1, -1)
                for axes in itertools.combinations(self._axes, n)
                if not axes or math.prod(mesh.axis_size(a) for a in axes) <= rows
            ]
        )
        self._roles = {"whole": self._whole(), "fsdp": self._along(made.fsdp), "megatron": self._along(made.megatron)}
        self._units = self._groups()

    def whole(self) -> Point:
        """Nothing is split."""
        return Point((), self._whole()[""])

    def starts(self) -> Iterator[Point]:
        """Each axis has a role: it splits the batch, the batch and the weights, or layers by columns and rows."""
        seen = set()
        for batch_axis in self.batches:
            roles = [("fsdp", "whole") if a in batch_axis else ("megatron", "whole") for a in self._axes]
            for chosen in itertools.product(*roles):
                splits = self._joined(dict(zip(self._axes, chosen, strict=True)))
                if (batch_axis, splits) not in seen:
                    seen.add((batch_axis, splits))
                    yield Point(batch_axis, splits)

    def around(self, point: Point) -> Iterator[Point]:
        """The nearest first: other axes for the batch; another role of an axis for the layers of a group; of one kind
        another dimension for an axis, then any split; of two kinds other dimensions for an axis."""
        for batch_axis in self.batches:
            yield point._replace(batch_axis=batch_axis)
        for unit, axis, role in itertools.product(self._units, self._axes, self._roles):
            dims = self._roles[role][axis]
            yield self._with(point, axis, {k: on_axis(dims[k], axis) for k in unit})
        kinds = range(len(self._space.kinds))
        for k in kinds:
            for axis in self._axes:
                for dim in (None, *range(len(self._space.kinds[k].shape))):
                    yield self._with(point, axis, {k: dim})
        for k in kinds:
            for split in self._space.splits[k]:
                yield point._replace(splits=(*point.splits[:k], split, *point.splits[k + 1 :]))
        for a, b in itertools.combinations(kinds, 2):
            for axis in self._axes:
                dims_of = [(None, *range(len(self._space.kinds[k].shape))) for k in (a, b)]
                for one, other in itertools.product(*dims_of):
                    yield self._with(point, axis, {a: one, b: other})

    def _with(self, point: Point, axis: str, dims: dict[int, int | None]) -> Point:
        """The point with that axis on other dimensions of some kinds, which stay as they are without such a split."""
        splits = list(point.splits)
        for k, dim in dims.items():
            rest = [tuple(a for a in _names(names) if a != axis) for names in splits[k]]
            moved = [names + (axis,) if d == dim else names for d, names in enumerate(rest)]
            split = tuple(None if not names else names[0] if len(names) == 1 else names for names in moved)
            if split in self._space.splits[k]:
                splits[k] = split
        return point._replace(splits=tuple(splits))

    def _whole(self) -> dict[str, tuple[Split, ...]]:
        whole = tuple((None,) * len(kind.shape) for kind in self._space.kinds)
        return dict.fromkeys((*self._axes, ""), whole)

    def _along(self, make: Any) -> dict[str, tuple[Split, ...]]:
        return {axis: self._space.splits_by(make(self._model, self._space.mesh, axis)) for axis in self._axes}

    def _joined(self, roles: dict[str, str]) -> tuple[Split, ...]:
        """Joins roles as `weft.layouts` does: weights split over several axes of the batch are so over all at once."""
        mesh, model = self._space.mesh, self._model
        sharded = tuple(a for a in self._axes if roles[a] == "fsdp")
        maps = [made.megatron(model, mesh, a) for a in self._axes if roles[a] == "megatron"]
        maps += [made.fsdp(model, mesh, sharded)] if sharded else []
        if not maps:
            return self._whole()[""]
        joined: LayoutMap = maps[0]
        for other in maps[1:]:
            joined = joined | other
        return self._space.splits_by(joined)

    def _groups(self) -> list[Sequence[int]]:
        """All kinds, and those of the linear layers that belong together."""
        kind_of = {path: k for k, kind in enumerate(self._space.kinds) for path in kind.paths}
        units: list[Sequence[int]] = [tuple(range(len(self._space.kinds)))]
        for group in Finder(self._model).groups:
            weights = [p for x in (*group.columns, group.row) for p in (x.weight, x.bias) if p is not None]
            unit = tuple(sorted({kind_of[p] for p in weights}))
            if unit not in units:
                units.append(unit)
        return units


def _names(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()
