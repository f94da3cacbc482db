"""The demo's picture: both models' losses, and who holds which part of which weight."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402
from parts import COLOURS, FAINT, INK, Box, colour_of, holders, ink_on  # noqa: E402
from show import History, kind_of  # noqa: E402


def draw(file: str, history: History, parts: dict[str, list[Box]], tolerance: float) -> None:
    """Writes the picture.

    Args:
        parts: for each variable and rank the box that it holds; a vector counts as one row.
    """
    kinds: dict[str, list[Box]] = {}
    for path, boxes in parts.items():
        kinds.setdefault(kind_of(path), [box if len(box) == 4 else [0, 1, *box] for box in boxes])
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK})
    plt.rcParams.update({"xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK})
    figure = plt.figure(figsize=(14, 7), layout="constrained", facecolor="white")
    curves, weights = figure.subfigures(1, 2, width_ratios=[1, 1.5])
    _draw_losses(curves, history, tolerance)
    _draw_weights(weights, kinds)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _draw_losses(figure, history: History, tolerance: float) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.5, 1])
    steps = range(1, len(history.loss) + 1)
    top.plot(steps, history.loss, color=COLOURS[2], linewidth=6, label="sharded, 4 processes", solid_capstyle="round")
    top.plot(steps, history.plain_loss, color=INK, linewidth=1, label="plain, 1 process")
    top.set_ylabel("loss")
    top.legend(frameon=False)
    figure.suptitle("The same losses", fontweight="bold", fontsize=13)
    least = 1e-8  # stands for no difference at all
    bottom.semilogy(steps, [max(d, least) for d in history.differences], ".", color=COLOURS[1], markersize=5)
    bottom.axhline(tolerance, color=FAINT, linewidth=1, linestyle="--")
    bottom.text(1, tolerance / 1.6, "allowed", color=FAINT, va="top", fontsize=9)
    bottom.set_ylim(least / 3, 10 * tolerance)
    bottom.set_yticks([least, 1e-6, tolerance], ["0", "$10^{-6}$", f"$10^{{{round(math.log10(tolerance))}}}$"])
    bottom.minorticks_off()
    bottom.set_ylabel("difference")
    bottom.set_xlabel("step")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#eceff3")


def _draw_weights(figure, kinds: dict[str, list]) -> None:
    figure.suptitle("Who holds which part of which weight", fontweight="bold", fontsize=13)
    matrices = {kind: boxes for kind, boxes in kinds.items() if _shape(boxes)[0] > 1}
    whole = ", ".join(_name(kind) for kind in kinds if kind not in matrices)
    figure.supxlabel(f"Each part with the ranks that hold it. Whole on every rank: {whole}.", fontsize=9, color=FAINT)
    # Rows of panels as high as their highest weight, all at one scale.
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
            _draw_weight(axes, _name(kind), matrices[kind], height)


def _name(kind: str) -> str:
    return kind.removesuffix("/weight").split("/")[-1]


def _shape(boxes: list) -> tuple[int, int]:
    return max(box[1] for box in boxes), max(box[3] for box in boxes)


def _draw_weight(axes, name: str, boxes: list, height: int) -> None:
    for (top, bottom, left, right), ranks in holders(boxes).items():
        colour = colour_of(ranks)
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
