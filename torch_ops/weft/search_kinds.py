"""The variables that a search lays out, as kinds: those of layers that are alike get one layout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from .layout_map import LayoutMap
from .layouts.plan import Plan, Variable, made_map, parameters_of
from .mesh import DeviceMesh
from .search_folding import Run, generic


class Kind(NamedTuple):
    """Parameters of one shape that stand for each other."""

    paths: tuple[str, ...]  # those of tied ones among them
    shape: tuple[int, ...]
    elements: int  # in all

    def __str__(self) -> str:
        return self.paths[0].replace(".", "/")


Split = tuple  # of a kind: for each dimension the axes that split it, as a LayoutMap has them


class Space:
    """The layouts that there are for a model on a mesh: a split for each kind."""

    def __init__(self, model: torch.nn.Module, mesh: DeviceMesh, runs: Sequence[Run]) -> None:
        self.mesh = mesh
        self.variables: dict[str, Variable] = parameters_of(model, "search")
        found: dict[tuple, list[str]] = {}
        for path, v in self.variables.items():
            found.setdefault((generic(v.first, runs), v.shape), []).append(path)
        kinds = []
        for (_, shape), paths in found.items():
            own = sum(self.variables[p].first == p for p in paths)
            kinds.append(Kind(tuple(paths), shape, own * math.prod(shape)))
        self.kinds: list[Kind] = sorted(kinds, key=lambda kind: -kind.elements)
        self.splits: list[list[Split]] = [list(splits_of(kind.shape, mesh)) for kind in self.kinds]

    def layout_map(
        self, splits: Sequence[Split], paths: Iterable[str] | None = None, mesh: DeviceMesh | None = None
    ) -> LayoutMap:
        """A map of all variables, or of those alone that a folded model has; over the space's mesh or one like it."""
        variables = self.variables if paths is None else {p: self.variables[p] for p in paths}
        by_path = {p: s for kind, s in zip(self.kinds, splits, strict=True) for p in kind.paths if p in variables}
        return made_map(mesh or self.mesh, Plan(variables), by_path)

    def splits_by(self, layouts: LayoutMap) -> tuple[Split, ...]:
        """What a map that treats alike layers alike gives each kind."""
        return tuple(
            layouts.layout_for(kind.paths[0], kind.shape, self.variables[kind.paths[0]].module_type).axes
            for kind in self.kinds
        )


def splits_of(shape: Sequence[int], mesh: DeviceMesh) -> Iterator[Split]:
    """All splits of a variable in which every rank has a part: of each axis the dimension that it splits or none; where
    several split one, in both orders."""
    axes = [name for name, size in zip(mesh.axis_names, mesh.shape, strict=True) if size > 1]
    sizes: Mapping[str, int] = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    for dims in itertools.product((None, *range(len(shape))), repeat=len(axes)):
        on = [[a for a, d in zip(axes, dims, strict=True) if d == at] for at in range(len(shape))]
        if any(math.prod(sizes[a] for a in names) > size for names, size in zip(on, shape, strict=True)):
            continue
        orders = [[tuple(names)] + ([tuple(names[::-1])] if len(names) > 1 else []) for names in on]
        for chosen in itertools.product(*orders):
            yield tuple(None if not names else names[0] if len(names) == 1 else names for names in chosen)


def on_axis(split: Split, axis: str) -> int | None:
    """The dimension that the axis splits."""
    return next(
        (d for d, names in enumerate(split) if axis == names or (isinstance(names, tuple) and axis in names)), None
    )
