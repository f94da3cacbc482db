"""The demo's picture: both models' losses, and who holds which part of which weight."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402
from show import History, kind_of  # noqa: E402

# Ranks of one half along "model" are shades of one colour; a part that several ranks hold has the mean of theirs.
COLOURS = ["#2f6fb0", "#d9822b", "#8fc1ea", "#f6c58b"]
INK, FAINT = "#2b2f36", "#8a919c"


def draw(file: str, history: History, parts: dict[str, list], tolerance: float) -> None:
    """Writes the picture.

    Args:
        parts: for each variable and rank: first row, last row + 1, first column, last column + 1.
    """
    kinds: dict[str, list] = {}
    for path, boxes in parts.items():
        kinds.setdefault(kind_of(path), boxes)
    plt.rcParams.update({"font.size": 9, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK})
    figure = plt.figure(figsize=(14, 7.2), layout="constrained", facecolor="white")
    curves, weights = figure.subfigures(1, 2, width_ratios=[1, 1.6], wspace=0.03)
    _draw_losses(curves, history, tolerance)
    _draw_weights(weights, kinds)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _draw_losses(figure, history: History, tolerance: float) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    steps = range(1, len(history.loss) + 1)
    top.plot(steps, history.loss, color=COLOURS[2], linewidth=6, label="sharded, 4 processes", solid_capstyle="round")
    top.plot(steps, history.plain_loss, color=INK, linewidth=1.2, label="plain, 1 process")
    top.set_ylabel("loss")
    top.legend(frameon=False)
    figure.suptitle("The same losses", fontweight="bold")
    bottom.semilogy(steps, [max(d, 1e-8) for d in history.differences], ".", color=COLOURS[1], markersize=4)
    bottom.axhline(tolerance, color=FAINT, linewidth=1, linestyle="--")
    bottom.annotate("allowed", (1, tolerance), (0, -11), textcoords="offset points", color=FAINT)
    bottom.set_ylim(0.5e-8, 5 * tolerance)
    bottom.set_ylabel("difference")
    bottom.set_xlabel("step")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#eceff3")


def _draw_weights(figure, kinds: dict[str, list]) -> None:
    figure.suptitle("Who holds which part of which weight", fontweight="bold")
    matrices = {kind: boxes for kind, boxes in kinds.items() if _shape(boxes)[0] > 1}
    columns = 5
    panels = figure.subplots(-(-len(matrices) // columns), columns).flatten()
    largest = max(max(_shape(boxes)) for boxes in matrices.values())
    for axes in panels:
        axes.set_axis_off()
    for axes, (kind, boxes) in zip(panels, matrices.items(), strict=False):
        _draw_weight(axes, kind, boxes, largest)
    vectors = ", ".join(kind for kind in kinds if kind not in matrices)
    figure.supxlabel(f"whole on every rank: {vectors}", fontsize=8, color=FAINT)


def _shape(boxes: list) -> tuple[int, int]:
    return max(box[1] for box in boxes), max(box[3] for box in boxes)


def _draw_weight(axes, kind: str, boxes: list, largest: int) -> None:
    holders: dict[tuple, list[int]] = {}
    for rank, box in enumerate(boxes):
        holders.setdefault(tuple(box), []).append(rank)
    for (top, bottom, left, right), ranks in holders.items():
        shades = [to_rgb(COLOURS[rank]) for rank in ranks]
        colour = [sum(channel) / len(shades) for channel in zip(*shades, strict=True)]
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor=colour, edgecolor="white", lw=1.5))
        axes.text((left + right) / 2, (top + bottom) / 2, " ".join(map(str, ranks)), ha="center", va="center")
    rows, cols = _shape(boxes)
    axes.set_title(kind.removesuffix("/weight").split("/")[-1], fontsize=9)
    axes.text(cols / 2, rows, f"{rows} x {cols}", fontsize=7, color=FAINT, ha="center", va="top")
    axes.set_xlim(0, largest)
    axes.set_ylim(largest, 0)
    axes.set_aspect("equal")
