"""The Hugging Face demo's picture: the losses over the change of mesh, and who holds what before and after it."""

from curves import Curve, draw_losses, new_figure, write
from parts import COLOURS
from show import TOLERANCE, Run
from weights import draw_weights


def draw(file: str, plain: Run, first: Run, second: Run) -> None:
    """Writes the picture."""
    figure = new_figure(15, 7)
    curves, before, after = figure.subfigures(1, 3, width_ratios=[1.1, 1, 1])
    runs = [
        Curve("sharded, 4 processes", first.loss, COLOURS[2], COLOURS[0]),
        Curve("resumed on 2 processes", second.loss, COLOURS[3], COLOURS[1]),
    ]
    whole = Curve("plain, 1 process, not stopped", plain.loss)
    draw_losses(curves, "The same losses over a change of mesh", runs, whole, TOLERANCE)
    for panel, run, title in ((before, first, "Four processes"), (after, second, "Resumed on two")):
        panel.suptitle(title, fontweight="bold", fontsize=13)
        draw_weights(panel, run.parts, len(next(iter(run.parts.values()))))
    write(figure, file)
