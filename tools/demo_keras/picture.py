"""The Keras demo's picture: each model's layers in order, and who holds which part of each variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from cards import Card, Flow, tile  # noqa: E402
from parts import FAINT, INK  # noqa: E402
from structure import Layer  # noqa: E402

# In points (1/72 inch): a line of layers, the margin around all, the picture's and each model's heading.
WIDTH, MARGIN, HEAD, TITLE = 700, 26, 92, 46


class Model(NamedTuple):
    title: str
    subtitle: str
    layers: list[Layer]


def draw(file: str, models: list[Model]) -> None:
    """Writes the picture."""
    plt.rcParams.update({"text.color": INK, "font.family": "DejaVu Sans"})
    flows = [Flow([Card(layer, WIDTH) for layer in model.layers], WIDTH) for model in models]
    width = max(WIDTH, *(flow.width for flow in flows)) + 2 * MARGIN
    height = HEAD + sum(TITLE + flow.height + MARGIN for flow in flows)
    figure = plt.figure(figsize=(width / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(MARGIN, 38, "Who holds which part\nof which variable", size=16, weight="bold", va="center")
    _draw_legend(axes, width - MARGIN, 20)
    y = float(HEAD)
    for model, flow in zip(models, flows, strict=True):
        axes.plot([MARGIN, width - MARGIN], [y, y], color="#e3e7ec", lw=1)
        axes.text(MARGIN, y + 17, model.title, size=12, weight="bold", va="center")
        axes.text(MARGIN, y + 32, model.subtitle, size=8, color=FAINT, va="center")
        flow.draw(axes, MARGIN, y + TITLE)
        y += TITLE + flow.height + MARGIN
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _draw_legend(axes: Any, right: float, top: float) -> None:
    """The mesh with its ranks, and the colours of parts that one rank, two or all of them hold; ends at `right`."""
    side = 18
    kinds = [
        ("split over both axes", [(0,), (1,), (2,), (3,)]),
        ("split over model", [(0, 2), (1, 3)]),
        ("whole", [(0, 1, 2, 3)]),
    ]
    for text, holders in kinds:
        wide = 22 if len(holders) == 4 else 36
        right -= max(wide * len(holders), 4.4 * len(text))
        for i, ranks in enumerate(holders):
            tile(axes, right + i * wide, top + side / 2, wide, side, ranks)
        axes.text(right, top + 1.5 * side + 5, text, size=7.5, va="top")
        right -= 22
    right -= 2 * side + 16
    axes.text(right + side, top - 3, "model", ha="center", va="bottom", size=7.5, color=FAINT)
    axes.text(right - 4, top + side, "batch", ha="right", va="center", size=7.5, color=FAINT)
    for rank in range(4):
        tile(axes, right + rank % 2 * side, top + rank // 2 * side, side, side, (rank,))
    axes.text(right + side, top + 2 * side + 3, "the mesh's ranks", ha="center", va="top", size=7.5)
