"""What weft.search found."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from .layout_map import LayoutMap
from .planned import Planned
from .text_table import human, table

_ENTRIES = 3  # of a runner-up that print


class Candidate(NamedTuple):
    """A layout that was looked at, with what a step takes by the search's estimate."""

    layouts: LayoutMap
    batch_axis: tuple[str, ...]
    seconds: float
    peak: int  # bytes of a rank


class Found:
    """Layouts for a model. Prints as a report.

    Attributes:
        layouts: a LayoutMap over the mesh that was given, or else over one of `planned.mesh`'s shape.
        batch_axis: mesh axes over which the batch is to be split; empty: none.
        planned: the step under these layouts, as `weft.plan` tells it.
        runners_up: the next best layouts that were looked at, on the same mesh.
        tried: how many were.
    """

    def __init__(
        self,
        layouts: LayoutMap,
        batch_axis: tuple[str, ...],
        planned: Planned,
        runners_up: list[Candidate],
        tried: int,
    ) -> None:
        self.layouts, self.batch_axis, self.planned = layouts, batch_axis, planned
        self.runners_up, self.tried = runners_up, tried

    def save(self, file: str | os.PathLike) -> None:
        """Writes the layouts' plan file. The batch's axes are not in it."""
        self.layouts.save(file)

    def json(self) -> str:
        """Layouts, batch's axes and figures as JSON; sizes in bytes."""
        found = {
            "layouts": json.loads(self.layouts.to_json()),
            "batch_axis": self.batch_axis,
            "planned": json.loads(self.planned.json()),
            "runners_up": [
                {**c._asdict(), "layouts": json.loads(c.layouts.to_json())["rules"]} for c in self.runners_up
            ],
            "tried": self.tried,
        }
        return json.dumps(found, indent=2)

    def __str__(self) -> str:
        p = self.planned
        figures = f"{p.seconds * 1e3:.1f} ms ({p.seconds_sending * 1e3:.1f} of them in collectives), {human(p.peak)}"
        head = f"{_mesh(p)}, batch over {_over(self.batch_axis)}: a step takes {figures}; of {self.tried} layouts tried"
        lines = [("next best", "memory", "batch over", "what differs")]
        lines += [
            (f"{c.seconds * 1e3:.1f} ms", human(c.peak), _over(c.batch_axis), self._other(c)) for c in self.runners_up
        ]
        return "\n\n".join([head, str(self.layouts), *([table(lines, right=(0, 1))] if self.runners_up else [])])

    __repr__ = __str__

    def _other(self, candidate: Candidate) -> str:
        """Entries that differ."""
        mine, theirs = dict(self.layouts.rules()), dict(candidate.layouts.rules())
        paths = [p for p in {**mine, **theirs} if mine.get(p) != theirs.get(p)]
        shown = [f"{p} -> {theirs.get(p, 'whole')}" for p in paths[:_ENTRIES]]
        return ", ".join(shown) + (f" and {len(paths) - _ENTRIES} others" if len(paths) > _ENTRIES else "")


def _mesh(planned: Planned) -> str:
    axes = zip(planned.mesh.axis_names, planned.mesh.shape, strict=True)
    return f"mesh ({', '.join(f'{n}={s}' for n, s in axes)})"


def _over(axes: tuple[str, ...]) -> str:
    return ", ".join(axes) or "no axis"
