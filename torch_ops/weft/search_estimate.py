"""What a layout costs, told by a model of fewer layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .costs import Cost
from .mesh import DeviceMesh
from .planned import Planned, seconds_of
from .planning import Step, planned_step
from .search_folding import Run, folded, outermost
from .search_gathers import coming_ahead
from .search_kinds import Space, Split


class Estimate(NamedTuple):
    """What a training step is estimated to take on the mesh's rank."""

    seconds: float
    computing: float  # seconds of these
    peak: int  # bytes


class Estimator:
    """Estimates the whole model from copies of it in which one layer, or two, stand for all of a run.

    What a layer more takes is the difference between two of it and one; of memory at least what its variables take.
    """

    def __init__(self, model: torch.nn.Module, runs: Sequence[Run], step: Step) -> None:
        self._step = step
        self.model = model
        by_length: dict[int, list[Run]] = {}
        for run in outermost(runs):
            by_length.setdefault(len(run.names), []).append(run)
        first = {run: 1 for alike in by_length.values() for run in alike}
        self._models = [(folded(model, first), 1)]
        for length, alike in by_length.items():
            self._models.append((folded(model, {**first, **dict.fromkeys(alike, 2)}), length - 1))

    def unfold(self) -> None:
        """Takes the whole model from now on."""
        self._models = [(self.model, 1)]

    @property
    def is_folded(self) -> bool:
        return len(self._models) > 1

    def of(self, space: Space, splits: Sequence[Split], batch_axis: tuple[str, ...]) -> Estimate:
        """Raises what the model's step raises."""
        step = self._step._replace(batch_axis=batch_axis)
        found: list[tuple[float, float, int, int]] = []
        for model, _ in self._models:
            mine = copy.deepcopy(model)
            paths = [path for path, _ in mine.named_parameters(remove_duplicate=False)]
            planned = planned_step(mine, space.layout_map(splits, paths), step, steps=1)
            variables = sum(v.bytes for v in planned.variables)
            found.append((*_seconds(planned), variables, max(0, planned.peak - variables)))
        seconds, computing, own, rest = map(float, found[0])
        for (_, scale), more in zip(self._models[1:], found[1:], strict=True):
            seconds += scale * (more[0] - found[0][0])
            computing += scale * (more[1] - found[0][1])
            own += scale * (more[2] - found[0][2])
            rest += scale * max(0, more[3] - found[0][3])
        return Estimate(seconds, computing, int(own + rest))


def _seconds(planned: Planned) -> tuple[float, float]:
    """Seconds of a step that follows the first, which was planned: in all, and of computing. Then the optimizer's state
    is there, and small variables are copied out of the bucket that they are gathered in."""
    cost = Cost(planned.mesh)
    sizes = dict(zip(planned.mesh.axis_names, planned.mesh.shape, strict=True))
    rows, copied = coming_ahead((row for row in planned.trace.rows if row.axis in sizes), sizes)
    made = sum(v.optimizer for v in planned.variables)
    computing = planned.seconds_computing + (2 * copied - made) / cost.memory_bytes_per_second
    return computing + seconds_of(rows, cost, sizes), computing


def simulated(shape: dict[str, int]) -> DeviceMesh:
    """A mesh of that shape without processes, seen from its first rank, which holds the most."""
    return DeviceMesh(tuple(shape.values()), tuple(shape), device_type="cpu", simulate=0)
