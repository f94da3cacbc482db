"""Layouts for a whole model found by search, before a machine is rented."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .axes import names_tuple
from .layout_map import LayoutMap
from .mesh import DeviceMesh
from .planned import Planned
from .planning import Step, copied_on_meta, made_on_meta, planned_step
from .progress import progress
from .search_estimate import Estimate, Estimator, simulated
from .search_folding import runs_of
from .search_found import Candidate, Found
from .search_kinds import Space
from .search_moves import Moves, Point
from .slots import holds_scripted
from .strings import shown
from .text_table import human

_AXES = ("data", "model")  # of the meshes that are tried where only the number of ranks is given
_KEPT = 5  # runners-up
_PLANNED = 6  # layouts that are planned whole, until one fits
_BETTER = 1 - 5e-4  # what gains less is not worth an entry


def search(
    model: torch.nn.Module | Callable[[], torch.nn.Module],
    mesh: DeviceMesh | Mapping[str, int] | int,
    example_inputs: Any,
    *,
    memory: int | None = None,
    optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    batch_axis: str | tuple[str, ...] | None = None,
    tries: int = 100,
) -> Found:
    """The layout with the quickest training step that fits into memory, of those that a search tries.

    It begins with what `weft.layouts` makes (each axis splits the batch, the batch and the weights, or layers by
    columns and rows) and changes the best of them, axis by axis and kind by kind of variable, as long as that helps.
    What a layout takes is told by steps on shapes (`weft.plan`), with the costs of `weft.cost`: nothing runs, no memory
    is taken, and the result is the same on every rank and in every run. Layers that are alike are laid out alike, and
    one or two stand for all while it searches; what is found is planned whole.

        found = weft.search(make_model, {"data": 8, "model": 8}, batch, memory=80 << 30, optimizer=torch.optim.AdamW)
        print(found)
        found.save("plan.json")                     # for `weft lint`, `weft plan` and LayoutMap.load
        weft.distribute_module(model, found.layouts)
        inputs = weft.shard_batch(batch, mesh, found.batch_axis)

    Args:
        model: a module, which is not changed, or a function that makes one; called on the meta device.
        mesh: a mesh, ranks by axis names, or a number of ranks: then all meshes of two axes, "data" and "model", are
            tried.
        example_inputs: as `weft.plan` takes them, as `optimizer` and `loss`.
        memory: bytes that a rank has; default: no limit.
        batch_axis: mesh axis, or several, over which the batch is split; default: the search chooses.
        tries: layouts that are looked at, at most; those that a search begins with are in any case.

    Raises:
        ValueError: arguments of other kinds than these; no layout that was tried fits into memory.
        RuntimeError: the step needs a value, as `weft.plan` raises.
    """
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise ValueError(f"[W039] search: tries must be a number from 1 on, not {shown(tries)}")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or memory <= 0):
        raise ValueError(f"[W039] search: memory must be a number of bytes, not {shown(memory)}")
    step = Step(example_inputs, optimizer, loss).checked("search")
    plain = _on_meta(model)
    runs = runs_of(plain)
    estimator = Estimator(plain, runs, step)
    batch = (batch_axis,) if isinstance(batch_axis, str) else batch_axis
    if batch is not None:
        batch = names_tuple(batch, "search: batch axis")
    spaces = [Space(plain, simulated(shape), runs) for shape in _meshes(mesh)]
    with progress("looking at layouts", tries) as advance:
        searches = [
            _Search(space, Moves(plain, space, example_inputs, batch), estimator, memory, advance) for space in spaces
        ]
        left = tries
        for one in searches:
            left -= one.begin()
        best = min(searches, key=lambda one: one.score(one.best))
        best.descend(left)
        given = mesh if isinstance(mesh, DeviceMesh) and mesh.simulated_rank is None else None
        return best.found(step, given, sum(len(one.tried) for one in searches))


class _Search:
    """The search on one mesh."""

    def __init__(
        self, space: Space, moves: Moves, estimator: Estimator, memory: int | None, advance: Callable[[], None]
    ) -> None:
        self.space, self._moves, self._estimator, self._memory = space, moves, estimator, memory
        self._advance = advance  # called for each layout that is looked at
        self.tried: dict[Point, Estimate | Exception] = {}
        self.best = moves.whole()
        self._more = 1.0  # memory of a layout that was planned whole, in parts of its estimate

    def begin(self) -> int:
        """Tries where a search may begin; the number of them. Raises the step's error where it has none without."""
        for point in self._moves.starts():
            self._try(point)
        errors = [found for found in self.tried.values() if isinstance(found, Exception)]
        if len(errors) == len(self.tried):
            error = errors[0]
            raise error
        return len(self.tried)

    def descend(self, tries: int) -> None:
        """Goes on until nothing near is better, or that many layouts have been looked at."""
        left = tries
        better = True
        while better:
            better = False
            for point in self._moves.around(self.best):
                if point in self.tried:
                    continue
                if left <= 0:
                    return
                left -= 1
                if self._try(point):
                    better = True
                    break

    def score(self, point: Point) -> tuple[float, float]:
        """Bytes too many, then seconds: the smaller the better."""
        found = self.tried.get(point)
        if found is None or isinstance(found, Exception):
            return (math.inf, math.inf)
        return (max(0, found.peak * self._more - self._memory) if self._memory is not None else 0, found.seconds)

    def _try(self, point: Point) -> bool:
        """Whether it is the best so far."""
        try:
            self.tried[point] = self._estimator.of(self.space, point.splits, point.batch_axis)
        except (ValueError, RuntimeError, IndexError, KeyError, TypeError) as error:
            if self._estimator.is_folded and not self.tried:
                self._estimator.unfold()  # the model looks at its layers otherwise than one after the other
                return self._try(point)
            self.tried[point] = error
        self._advance()
        over, seconds = self.score(point)
        best_over, best_seconds = self.score(self.best)
        if over < best_over or (over == best_over and seconds < best_seconds * _BETTER):
            self.best = point
            return True
        return False

    def found(self, step: Step, mesh: DeviceMesh | None, tried: int) -> Found:
        """The best that fits when it is planned whole.

        Raises ValueError where none does.
        """
        refused: dict[Point, Planned] = {}
        while len(refused) < _PLANNED:
            order = sorted((p for p in self.tried if self.score(p)[1] < math.inf and p not in refused), key=self.score)
            if not order:
                break
            planned = self._planned(order[0], step)
            if self._memory is None or planned.peak <= self._memory:
                others = [self._candidate(p, mesh) for p in order[1 : _KEPT + 1]]
                return Found(self._layouts(order[0], mesh), order[0].batch_axis, planned, others, tried)
            refused[order[0]] = planned
            self._more = max(self._more, planned.peak / self._estimate(order[0]).peak)
        least = min(refused.values(), key=lambda planned: planned.peak)
        kinds = ", ".join(f"{human(size)} of {kind}" for kind, size in least.kinds.items())
        raise ValueError(
            f"[W039] search: none of the {tried} layouts that were tried fits into memory={self._memory}; the best "
            f"takes {human(least.peak)}: {kinds}. Give more memory, ranks or tries, or a smaller batch"
        )

    def _estimate(self, point: Point) -> Estimate:
        found = self.tried[point]
        assert isinstance(found, Estimate)
        return found

    def _planned(self, point: Point, step: Step) -> Planned:
        whole = copy.deepcopy(self._estimator.model)
        return planned_step(whole, self.space.layout_map(point.splits), step._replace(batch_axis=point.batch_axis))

    def _candidate(self, point: Point, mesh: DeviceMesh | None) -> Candidate:
        found = self._estimate(point)
        return Candidate(self._layouts(point, mesh), point.batch_axis, found.seconds, found.peak)

    def _layouts(self, point: Point, mesh: DeviceMesh | None) -> LayoutMap:
        """Over the mesh itself, not a simulated one."""
        if mesh is None:
            shape = self.space.mesh
            mesh = DeviceMesh(shape.shape, shape.axis_names)
        return self.space.layout_map(point.splits, mesh=mesh)


def _on_meta(model: torch.nn.Module | Callable[[], torch.nn.Module]) -> torch.nn.Module:
    if not isinstance(model, torch.nn.Module):
        if not callable(model):
            raise ValueError(
                f"[W038] search: a torch.nn.Module or a function that makes one is needed, not {type(model).__name__}"
            )
        return _not_scripted(made_on_meta(model, "search"))
    return copied_on_meta(_not_scripted(model), "search")


def _not_scripted(model: torch.nn.Module) -> torch.nn.Module:
    if holds_scripted(model):
        raise ValueError(
            "[W038] search: the model is scripted, and cannot be copied part by part: search the plain one"
        )
    return model


def _meshes(mesh: DeviceMesh | Mapping[str, int] | int) -> list[dict[str, int]]:
    """Shapes by axis names."""
    if isinstance(mesh, DeviceMesh):
        return [dict(zip(mesh.axis_names, mesh.shape, strict=True))]
    if isinstance(mesh, Mapping) and mesh:
        return [dict(mesh)]
    if isinstance(mesh, bool) or not isinstance(mesh, int) or mesh < 1:
        raise ValueError(
            f'[W038] search: pass a weft.DeviceMesh, ranks by axis names such as {{"data": 2}}, or a number of ranks, '
            f"not {shown(mesh)}"
        )
    sizes = [n for n in range(1, mesh + 1) if mesh % n == 0]
    return [dict(zip(_AXES, (mesh // n, n), strict=True)) for n in sizes]
