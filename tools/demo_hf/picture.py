"""The Hugging Face demo's picture: the losses over the change of mesh, and who holds what before and after it."""

from curves import COLOURS, Curve, draw_losses, new_figure, write
from show import TOLERANCE, Run
from weft import Drawing

WIDTH = 470.0  # of a drawing's lines, in points


def draw(file: str, plain: Run, first: Run, second: Run, before: Drawing, after: Drawing) -> None:
    """Writes the picture."""
    pictures = [before.picture("Four processes", WIDTH), after.picture("Resumed on two", WIDTH)]
    widths = [pictures[0].width, *(picture.width for picture in pictures)]
    figure = new_figure(sum(widths) / 72, max(picture.height for picture in pictures) / 72)
    curves, *panels = figure.subfigures(1, 3, width_ratios=widths)
    runs = [
        Curve("sharded, 4 processes", first.loss, COLOURS[2], COLOURS[0]),
        Curve("resumed on 2 processes", second.loss, COLOURS[3], COLOURS[1]),
    ]
    whole = Curve("plain, 1 process, not stopped", plain.loss)
    draw_losses(curves, "The same losses over a change of mesh", runs, whole, TOLERANCE)
    for panel, picture in zip(panels, pictures, strict=True):
        picture.paint(panel)
    write(figure, file)
