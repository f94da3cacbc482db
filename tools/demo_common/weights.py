"""Matrices of a picture, at one scale, each cut into the parts that ranks hold."""

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.patches import Rectangle
from parts import FAINT, Box, colour_of, holders, ink_on
from tables import kind_of


def draw_weights(figure: Any, parts: Mapping[str, list[Box]], world: int) -> None:
    """Two rows of panels, as high as their highest weight, one for the same weight of all layers; below them the names
    of what is whole.

    Args:
        parts: for each variable and rank the box that it holds; a vector is only named.
        world: how many ranks there are.
    """
    kinds: dict[str, list[Box]] = {}
    for path, boxes in parts.items():
        kinds.setdefault(kind_of(path), [box if len(box) == 4 else [0, 1, *box] for box in boxes])
    matrices = {kind: boxes for kind, boxes in kinds.items() if _shape(boxes)[0] > 1}
    whole = ", ".join(_name(kind) for kind in kinds if kind not in matrices)
    note = f"Each part with the ranks that hold it. Whole on every rank: {whole}."
    letters = int(14 * figure.bbox.width / figure.dpi)
    figure.supxlabel(textwrap.fill(note, letters), fontsize=9, color=FAINT)
    order = sorted(matrices, key=lambda kind: -_shape(matrices[kind])[0])
    columns = -(-len(order) // 2)
    rows = [order[:columns], order[columns:]]
    heights = [max((_shape(matrices[kind])[0] for kind in row), default=1) for row in rows]
    grids = figure.subfigures(2, 1, height_ratios=[h + 0.3 * max(heights) for h in heights])
    for row, height, grid in zip(rows, heights, grids, strict=True):
        if not row:
            continue
        widths = [_shape(matrices[kind])[1] for kind in row]
        panels = grid.subplots(1, len(row), width_ratios=widths, squeeze=False)[0]
        for axes, kind in zip(panels, row, strict=True):
            _draw_weight(axes, _name(kind), matrices[kind], height, world)


def _name(kind: str) -> str:
    return kind.removesuffix("/weight").split("/")[-1]


def _shape(boxes: list[Box]) -> tuple[int, int]:
    return max(box[1] for box in boxes), max(box[3] for box in boxes)


def _draw_weight(axes: Any, name: str, boxes: list[Box], height: int, world: int) -> None:
    for (top, bottom, left, right), ranks in holders(boxes).items():
        colour = colour_of(ranks, world)
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor=colour, edgecolor="white", lw=2))
        label, ink = ", ".join(map(str, ranks)), ink_on(colour)
        axes.text((left + right) / 2, (top + bottom) / 2, label, color=ink, ha="center", va="center", weight="bold")
    rows, columns = _shape(boxes)
    axes.set_title(name, fontsize=10)
    axes.text(columns / 2, rows * 1.02, f"{rows} x {columns}", fontsize=8, color=FAINT, ha="center", va="top")
    axes.set_xlim(0, columns)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal", anchor="N")
    axes.set_axis_off()
