"""The demo's picture: both models' losses, and who holds which part of which weight."""

from curves import Curve, draw_losses, new_figure, write
from parts import COLOURS, Box
from show import History
from weights import draw_weights


def draw(file: str, history: History, parts: dict[str, list[Box]], tolerance: float) -> None:
    """Writes the picture.

    Args:
        parts: for each variable and rank the box that it holds.
    """
    figure = new_figure(14, 7)
    curves, weights = figure.subfigures(1, 2, width_ratios=[1, 1.5])
    sharded, plain = Curve("sharded, 4 processes", history.loss), Curve("plain, 1 process", history.plain_loss)
    draw_losses(curves, "The same losses", [sharded], plain, tolerance)
    weights.suptitle("Who holds which part of which weight", fontweight="bold", fontsize=13)
    draw_weights(weights, parts, len(COLOURS))
    write(figure, file)
