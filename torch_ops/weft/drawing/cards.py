"""The pieces of a picture: modules as cards that flow like text. All lengths are points (1/72 inch)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from ..mesh import DeviceMesh
from .colours import FAINT, INK, as_hex, colour_of, ink_on
from .held import Shown, ranks_text
from .layers import Group, Layer

GAP, PAD = 17, 8  # between cards, where the arrows are; and inside them
_LONGEST = 130.0  # side of a variable
CARD, EDGE = "#f7f8fa", "#d9dee5"


def text_width(text: str, size: float) -> float:
    return 0.64 * size * len(text)


def length(size: int, largest: int) -> float:
    """How long a side of that many elements is drawn: it grows as the root, so that a bias is seen beside a kernel."""
    return max(9.0, min(4.2, _LONGEST / math.sqrt(max(largest, 1))) * math.sqrt(size))


def tile(axes: Any, x: float, y: float, width: float, height: float, ranks: Sequence[int], mesh: DeviceMesh) -> None:
    """A part of a variable, with the ranks that hold it where there is room to write them."""
    colour = colour_of(ranks, mesh)
    axes.add_patch(Rectangle((x, y), width, height, facecolor=as_hex(colour), edgecolor="white", lw=1))
    label = ranks_text(ranks, mesh.size)
    size = 7.5 if height >= 13 else 6
    if height >= 9 and width >= text_width(label, size):
        axes.text(
            x + width / 2, y + height / 2, label, color=ink_on(colour), ha="center", va="center_baseline", size=size
        )


class Drawing:
    """Something of a size, drawn with its upper left corner at a place."""

    width = height = 0.0

    def draw(self, axes: Any, x: float, y: float) -> None:
        raise NotImplementedError


class Flow(Drawing):
    """Drawings from left to right in lines of limited length; with arrows from each to the next, or without."""

    def __init__(self, drawings: Sequence[Drawing], limit: float, gap: float = GAP, arrows: bool = True) -> None:
        self._gap, self._arrows = gap, arrows
        self._lines: list[list[Drawing]] = [[]]
        for drawing in drawings:
            line = self._lines[-1]
            if line and self._width(line) + gap + drawing.width > limit:
                self._lines.append([])
            self._lines[-1].append(drawing)
        self.width = max(map(self._width, self._lines))
        self._heights = [max(drawing.height for drawing in line) for line in self._lines]
        self.height = sum(self._heights) + gap * (len(self._lines) - 1)

    def _width(self, line: list[Drawing]) -> float:
        return sum(drawing.width for drawing in line) + self._gap * (len(line) - 1)

    def draw(self, axes: Any, x: float, y: float) -> None:
        last: tuple[float, float] | None = None  # middle of the lower edge of what was drawn last
        for line, height in zip(self._lines, self._heights, strict=True):
            left, middle = x, y + height / 2
            for drawing in line:
                top = middle - drawing.height / 2 if self._arrows else y
                drawing.draw(axes, left, top)
                centre = left + drawing.width / 2
                if self._arrows and drawing is not line[0]:
                    _arrow(axes, [(left - self._gap + 1.5, middle), (left - 1.5, middle)])
                elif self._arrows and last:
                    between = y - self._gap / 2
                    _arrow(axes, [last, (last[0], between), (centre, between), (centre, top - 1.5)])
                last = centre, top + drawing.height + 1.5
                left += drawing.width + self._gap
            y += height + self._gap


def _arrow(axes: Any, points: list[tuple[float, float]]) -> None:
    """A line through the points with a head at its end."""
    path = Path(points)
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "color": FAINT, "lw": 0.9, "joinstyle": "miter"}
    axes.add_patch(FancyArrowPatch(path=path, **style))


class Variable(Drawing):
    """A variable divided as the mesh divides it, with its name and shape below."""

    def __init__(self, shown: Shown, largest: int) -> None:
        self._shown = shown
        self.vector = len(shown.shape) < 2
        self._across = length(shown.columns, largest)
        self._down = 10.0 if self.vector else length(shown.rows, largest)
        shape = "\N{MULTIPLICATION SIGN}".join(map(str, shown.shape))
        self._lines = [f"{shown.name} {shape}"] if self.vector else [shown.name, shape]
        self.width = max(self._across, *(text_width(line, 6) for line in self._lines))
        self.height = self._down + 2 + 8 * len(self._lines)

    def draw(self, axes: Any, x: float, y: float) -> None:
        for part in self._shown.parts:
            tile(
                axes,
                x + part.left * self._across,
                y + part.top * self._down,
                (part.right - part.left) * self._across,
                (part.bottom - part.top) * self._down,
                part.ranks,
                self._shown.layout.device_mesh,
            )
        for i, line in enumerate(self._lines):
            colour = FAINT if i or self.vector else INK
            axes.text(x + 0.5, y + self._down + 2.5 + 8 * i, line, size=6, va="top", color=colour)


class Stack(Drawing):
    """Drawings one below the other."""

    def __init__(self, drawings: Sequence[Drawing]) -> None:
        self._drawings = drawings
        self.width = max((d.width for d in drawings), default=0)
        self.height = sum(d.height for d in drawings) + 3 * max(0, len(drawings) - 1)

    def draw(self, axes: Any, x: float, y: float) -> None:
        for drawing in self._drawings:
            drawing.draw(axes, x, y)
            y += drawing.height + 3


class Title(Drawing):
    """A line of text."""

    def __init__(self, text: str, size: float, **style: Any) -> None:
        self._text, self._size, self._style = text, size, style
        self.width, self.height = text_width(text, size) * (1.15 if "weight" in style else 1), size + 3  # bold

    def draw(self, axes: Any, x: float, y: float) -> None:
        axes.text(x, y + self.height / 2, self._text, size=self._size, va="center_baseline", **self._style)


class Card(Drawing):
    """A layer: its name and class, and its variables; a pill with its name where it has none."""

    def __init__(self, layer: Layer, limit: float, largest: int) -> None:
        self._pill = not layer.groups
        if self._pill:
            self._inside: Drawing = Title(layer.name, 7.5, color=FAINT)
        else:
            several = len(layer.groups) > 1
            groups = [_group(group, several, largest) for group in layer.groups]
            heading = [Title(layer.name, 8.5, weight="bold"), Title(layer.kind, 6.5, color=FAINT)]
            self._inside = Stack([*heading, Flow(groups, limit - 2 * PAD, gap=13, arrows=False)])
        pad = 4 if self._pill else PAD
        self._pad = (PAD, pad)
        self.width, self.height = self._inside.width + 2 * PAD, self._inside.height + 2 * pad

    def draw(self, axes: Any, x: float, y: float) -> None:
        rounding = self.height / 2 if self._pill else 5
        style = f"round,pad=0,rounding_size={rounding}"
        box = FancyBboxPatch((x, y), self.width, self.height, boxstyle=style, facecolor=CARD, edgecolor=EDGE, lw=0.9)
        axes.add_patch(box)
        self._inside.draw(axes, x + self._pad[0], y + self._pad[1])


def _group(group: Group, named: bool, largest: int) -> Drawing:
    title = [Title(group.name, 7)] if named and group.name else []
    return Stack([*title, *(Variable(shown, largest) for shown in group.variables)])
