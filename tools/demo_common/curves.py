"""Losses of sharded runs over those of a plain one, and how far they are apart."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from weft.drawing.colours import FAINT, INK  # noqa: E402

COLOURS = ["#2f6fb0", "#d9822b", "#8fc1ea", "#f6c58b"]  # two strong ones, and both light


class Curve(NamedTuple):
    """A run's losses; the next run's begin where they end."""

    label: str
    losses: Sequence[float]
    light: str = COLOURS[2]
    strong: str = COLOURS[1]


def new_figure(width: float, height: float) -> Any:
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK})
    plt.rcParams.update({"xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK})
    return plt.figure(figsize=(width, height), layout="constrained", facecolor="white")


def write(figure: Any, file: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def draw_losses(figure: Any, title: str, curves: list[Curve], plain: Curve, tolerance: float) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.5, 1])
    figure.suptitle(title, fontweight="bold", fontsize=13)
    least = 1e-8  # stands for no difference at all
    start = 0
    for label, losses, light, strong in curves:
        steps = range(start + 1, start + len(losses) + 1)
        top.plot(steps, losses, color=light, linewidth=6, label=label, solid_capstyle="round")
        pairs = zip(losses, plain.losses[start:], strict=False)
        bottom.semilogy(steps, [max(abs(a - b), least) for a, b in pairs], ".", color=strong, markersize=5)
        if start:
            top.axvline(start + 0.5, color=FAINT, linewidth=1)
            bottom.axvline(start + 0.5, color=FAINT, linewidth=1)
        start += len(losses)
    top.plot(range(1, len(plain.losses) + 1), plain.losses, color=INK, linewidth=1, label=plain.label)
    top.set_ylabel("loss")
    top.legend(frameon=False)
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
