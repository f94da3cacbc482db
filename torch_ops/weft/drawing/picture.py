"""Drawings as files, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..mesh import DeviceMesh
from ..strings import shown
from .colours import FAINT, INK
from .layers import Layer

if TYPE_CHECKING:
    from .cards import Flow

# In points (1/72 inch): a line of layers, the margin around all, the picture's and each section's heading.
WIDTH, MARGIN, HEAD, TITLE = 700.0, 26.0, 100.0, 46.0
TOP, BELOW = 8.0, 64.0  # where the legend begins, beside the heading and below it
BESIDE = 210.0  # what the heading takes


@contextmanager
def _needing_matplotlib() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(
            "[W003] draw: pictures need matplotlib: pip install matplotlib (or weft[pictures])"
        ) from error


class Section(NamedTuple):
    """A model, or something else, with a heading of its own; without a title it has none."""

    title: str
    subtitle: str
    layers: Sequence[Layer]


class Picture:
    """Sections one below the other, below a heading with the mesh and what its colours mean.

    Args:
        in_order: layers run one after the other, which arrows say.

    Raises:
        ImportError: matplotlib is not installed; says how to.
    """

    def __init__(
        self, heading: str, sections: Sequence[Section], mesh: DeviceMesh, width: float = WIDTH, in_order: bool = False
    ) -> None:
        with _needing_matplotlib():
            from .cards import Card, Flow
            from .legend import Legend
        self._heading = heading
        sizes = [v.rows for s in sections for layer in s.layers for group in layer.groups for v in group.variables]
        sizes += [v.columns for s in sections for layer in s.layers for group in layer.groups for v in group.variables]
        largest = max(sizes, default=1)
        self._sections: list[tuple[Section, Flow]] = [
            (s, Flow([Card(layer, width, largest) for layer in s.layers], width, arrows=in_order)) for s in sections
        ]
        inside = max(width, *(flow.width for _, flow in self._sections))
        self.width = inside + 2 * MARGIN
        self._legend = Legend(mesh, inside)
        self._beside = self._legend.width + BESIDE <= inside  # the heading, else below it
        self._head = max(HEAD, (TOP if self._beside else BELOW) + self._legend.height + 20)
        self.height = self._head + sum((TITLE if s.title else 0) + flow.height + MARGIN for s, flow in self._sections)

    def paint(self, figure: Any) -> None:
        """Paints it into the upper left corner of a figure, or of a part of one, that is at least as large."""
        from matplotlib import rc_context

        with rc_context({"text.parse_math": False}):  # names may have any characters
            self._paint(figure)

    def _paint(self, figure: Any) -> None:
        wide, high = (72 * side / figure.dpi for side in (figure.bbox.width, figure.bbox.height))
        axes = figure.add_axes((0, 1 - self.height / high, self.width / wide, self.height / high))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.set_axis_off()
        axes.text(MARGIN, 38, self._heading, size=16, weight="bold", va="center", color=INK)
        if self._beside:
            self._legend.draw(axes, self.width - MARGIN - self._legend.width, TOP)
        else:
            self._legend.draw(axes, MARGIN, BELOW)
        y = self._head
        for section, flow in self._sections:
            if section.title:
                axes.plot([MARGIN, self.width - MARGIN], [y, y], color="#e3e7ec", lw=1)
                axes.text(MARGIN, y + 17, section.title, size=12, weight="bold", va="center", color=INK)
                axes.text(MARGIN, y + 32, section.subtitle, size=8, color=FAINT, va="center")
                y += TITLE
            flow.draw(axes, MARGIN, y)
            y += flow.height + MARGIN

    def save(self, file: Any, format: str | None = None) -> None:
        """Writes it to a file, as its name says: .png, .svg, .pdf; or, in that format, to what is open for writing."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width / 72, self.height / 72), facecolor="white")
        self.paint(figure)
        figure.savefig(file, dpi=150, format=format)


def kind_of(path: str) -> str:
    """Of picture that the file's name asks for.

    Raises:
        ValueError: matplotlib writes none of that kind.
        ImportError: matplotlib is not installed; says how to.
    """
    with _needing_matplotlib():
        from matplotlib.backend_bases import FigureCanvasBase
    kinds = FigureCanvasBase.get_supported_filetypes()
    kind = os.path.splitext(path)[1][1:].lower()
    if kind not in kinds:
        known = ", ".join(f".{k}" for k in sorted(kinds))
        raise ValueError(f"[W039] draw: {shown(path)} is no picture's name; such names end in {known}")
    return kind
