"""What a picture's colours mean: the mesh's ranks, and the parts that some or all of them hold."""

from __future__ import annotations

from typing import Any

from ..mesh import DeviceMesh, TensorLayout
from .cards import Drawing, Flow, tile
from .colours import FAINT, INK
from .held import shown

_SIDE = 18.0  # of a rank
_LABEL = 12.0  # height of a line of text
_WIDEST = 130.0
_GAP = 22.0


class Legend(Flow):
    """In lines of limited length."""

    def __init__(self, mesh: DeviceMesh, limit: float) -> None:
        axes = mesh.axis_names
        kinds: list[tuple[str, tuple]] = [("whole", (None,)), *((f"split over {name}", (name,)) for name in axes)]
        if len(axes) > 1:
            kinds.append(("split over all axes", (axes,)))
        grid: list[Drawing] = [_Grid(mesh)] if len(axes) > 1 else []
        super().__init__([*grid, *(_Kind(text, split, mesh) for text, split in kinds)], limit, _GAP, arrows=False)


class _Kind(Drawing):
    """A vector that is split in one way."""

    def __init__(self, text: str, split: tuple, mesh: DeviceMesh) -> None:
        self._text, self._mesh = text, mesh
        self._parts = shown("", (mesh.size,), TensorLayout(split, mesh)).parts
        self._across = min(2 * _SIDE, _WIDEST / len(self._parts)) * len(self._parts)
        self.width = max(self._across, 4.4 * len(text))
        self.height = _LABEL + 1.5 * _SIDE + 5 + _LABEL

    def draw(self, axes: Any, x: float, y: float) -> None:
        top = y + _LABEL + _SIDE / 2  # beside the middle of two rows of ranks
        for part in self._parts:
            left, across = x + part.left * self._across, (part.right - part.left) * self._across
            tile(axes, left, top, across, _SIDE, part.ranks, self._mesh)
        axes.text(x, top + _SIDE + 5, self._text, size=7.5, va="top", color=INK)


class _Grid(Drawing):
    """The mesh's ranks: its last axis is across, all others are down."""

    def __init__(self, mesh: DeviceMesh) -> None:
        self._mesh = mesh
        *above, last = mesh.axis_names
        self._above, self._last = ", ".join(above), last
        shape = (mesh.size // mesh.shape[-1], mesh.shape[-1])
        grid = shown("", shape, TensorLayout((tuple(above), last), mesh))
        self._parts = grid.parts
        self._across, self._down = (min(_SIDE * n, 6 * _SIDE) for n in (grid.columns, grid.rows))
        self._left = 4.4 * len(self._above) + 6
        self.width = self._left + max(self._across, 66.0)  # the line below it is wider
        self.height = _LABEL + self._down + _LABEL

    def draw(self, axes: Any, x: float, y: float) -> None:
        left, top = x + self._left, y + _LABEL
        middle, style = left + self._across / 2, {"size": 7.5, "color": FAINT}
        axes.text(middle, top - 3, self._last, ha="center", va="bottom", **style)
        axes.text(left - 4, top + self._down / 2, self._above, ha="right", va="center", **style)
        for part in self._parts:
            across, down = (part.right - part.left) * self._across, (part.bottom - part.top) * self._down
            place = (left + part.left * self._across, top + part.top * self._down)
            tile(axes, *place, across, down, part.ranks, self._mesh)
        axes.text(left, top + self._down + 3, "the mesh's ranks", va="top", size=7.5, color=INK)
