"""The demo's picture: both models' losses, and who holds which part of which weight."""

from curves import Curve, draw_losses, new_figure, write
from show import History
from weft import Drawing


def draw(file: str, history: History, weights: Drawing, tolerance: float) -> None:
    """Writes the picture."""
    right = weights.picture("Who holds which part\nof which weight")
    left = 0.6 * right.width
    figure = new_figure((left + right.width) / 72, right.height / 72)
    curves, rest = figure.subfigures(1, 2, width_ratios=[left, right.width])
    sharded, plain = Curve("sharded, 4 processes", history.loss), Curve("plain, 1 process", history.plain_loss)
    draw_losses(curves, "The same losses", [sharded], plain, tolerance)
    right.paint(rest)
    write(figure, file)
