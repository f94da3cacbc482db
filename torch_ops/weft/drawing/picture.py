"""Drawings as files, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..mesh import DeviceMesh, TensorLayout
from .colours import FAINT, INK
from .held import shown
from .layers import Layer

if TYPE_CHECKING:
    from .cards import Flow

# In points (1/72 inch): a line of layers, the margin around all, the picture's and each section's heading.
WIDTH, MARGIN, HEAD, TITLE = 700.0, 26.0, 100.0, 46.0
_WIDE = 650.0


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
        try:
            from .cards import Card, Flow
        except ImportError as error:
            raise ImportError(
                "[W003] draw: pictures need matplotlib: pip install matplotlib (or weft[pictures])"
            ) from error
        self._heading, self._mesh = heading, mesh
        sizes = [v.rows for s in sections for layer in s.layers for group in layer.groups for v in group.variables]
        sizes += [v.columns for s in sections for layer in s.layers for group in layer.groups for v in group.variables]
        largest = max(sizes, default=1)
        self._sections: list[tuple[Section, Flow]] = [
            (s, Flow([Card(layer, width, largest) for layer in s.layers], width, arrows=in_order)) for s in sections
        ]
        self._head = HEAD if width >= _WIDE else HEAD + 50  # the legend beside the heading, or below it
        self.width = max(width, *(flow.width for _, flow in self._sections)) + 2 * MARGIN
        self.height = self._head + sum((TITLE if s.title else 0) + flow.height + MARGIN for s, flow in self._sections)

    def paint(self, figure: Any) -> None:
        """Paints it into the upper left corner of a figure, or of a part of one, that is at least as large."""
        wide, high = (72 * side / figure.dpi for side in (figure.bbox.width, figure.bbox.height))
        axes = figure.add_axes((0, 1 - self.height / high, self.width / wide, self.height / high))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.set_axis_off()
        axes.text(MARGIN, 38, self._heading, size=16, weight="bold", va="center", color=INK)
        _draw_legend(axes, self.width - MARGIN, self._head - 80, self._mesh)
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


def _draw_legend(axes: Any, right: float, top: float, mesh: DeviceMesh) -> None:
    """The mesh's ranks, and the colours of parts that some or all of them hold; ends at `right`."""
    from .cards import tile

    side = 18.0
    kinds: list[tuple[str, tuple]] = [("whole", (None,))]
    if len(mesh.axis_names) > 1:
        kinds.insert(0, ("split over all axes", (mesh.axis_names,)))
    kinds[-1:-1] = [(f"split over {name}", (name,)) for name in mesh.axis_names[::-1]]
    for text, axes_of_it in kinds:
        vector = shown("", (mesh.size,), TensorLayout(axes_of_it, mesh))
        wide = min(36.0, 130.0 / len(vector.parts)) * len(vector.parts)
        right -= max(wide, 4.4 * len(text))
        for part in vector.parts:
            tile(
                axes, right + part.left * wide, top + side / 2, (part.right - part.left) * wide, side, part.ranks, mesh
            )
        axes.text(right, top + 1.5 * side + 5, text, size=7.5, va="top", color=INK)
        right -= 22
    if len(mesh.axis_names) < 2:
        return
    grid = shown("", mesh.shape, TensorLayout(mesh.axis_names, mesh))
    wide, high = (min(side * n, 6 * side) for n in (grid.columns, grid.rows))
    right -= wide + 16  # the line below it is wider
    axes.text(right + wide / 2, top - 3, mesh.axis_names[-1], ha="center", va="bottom", size=7.5, color=FAINT)
    axes.text(
        right - 4, top + high / 2, ", ".join(mesh.axis_names[:-1]), ha="right", va="center", size=7.5, color=FAINT
    )
    for part in grid.parts:
        across, down = (part.right - part.left) * wide, (part.bottom - part.top) * high
        tile(axes, right + part.left * wide, top + part.top * high, across, down, part.ranks, mesh)
    axes.text(right + wide / 2, top + high + 3, "the mesh's ranks", ha="center", va="top", size=7.5, color=INK)
