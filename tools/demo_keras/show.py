"""What the Keras demo prints: the layout table, the progress, what the models can do, and the summary."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

import view
from rich.table import Table

if TYPE_CHECKING:  # the plain process of the Keras demo has no Weft
    import weft


@dataclasses.dataclass
class History:
    """A training's losses and times by step, and what the model can do at its end."""

    loss: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    ability: str = ""

    def add(self, loss: float, seconds: float) -> None:
        self.loss.append(loss)
        self.seconds.append(seconds)

    def differences(self, other: History) -> list[float]:
        return [abs(a - b) for a, b in zip(self.loss, other.loss, strict=False)]


class View(view.View):
    columns = ("{task.fields[losses]}",)
    lines = 8

    def layouts(self, report: weft.Report) -> None:
        self._console.print()
        self._console.print(report)

    def step(self, history: History, plain: History | None = None) -> None:
        step = len(history.loss)
        losses = f"loss {history.loss[-1]:.5f}"
        if plain:
            losses += f"   plain {plain.loss[step - 1]:.5f}   difference {history.differences(plain)[-1]:.1e}"
        line = f"step {step:4d}/{self._steps}   {losses}   {1000 * history.seconds[-1]:6.0f} ms"
        self._show(step, line, losses=losses)

    def abilities(self, history: History, plain: History) -> None:
        self._console.print(f"It {history.ability}", style="green", markup=False)
        same = "the same" if history.ability == plain.ability else f"this one {plain.ability}"
        self._console.print(f"(in one plain process: {same})", markup=False)

    def summary(self, results: list[tuple[str, History, History]], picture: str) -> None:
        """Both models side by side with their plain runs."""
        self.title("Summary")
        table = Table(show_edge=False)
        table.add_column("")
        for name, *_ in results:
            table.add_column(f"{name}\nsharded, 4 processes", justify="right")
            table.add_column("\nplain, 1 process", justify="right")
        runs = [run for _, *both in results for run in both]
        ms = lambda seconds: f"{1000 * statistics.median(seconds):.0f} ms"  # noqa: E731
        table.add_row("first loss", *(f"{run.loss[0]:.6f}" for run in runs))
        table.add_row("last loss", *(f"{run.loss[-1]:.6f}" for run in runs))
        table.add_row("time of the first step", *(ms(run.seconds[:1]) for run in runs))
        table.add_row("time per step (median)", *(ms(run.seconds[1:] or run.seconds) for run in runs))
        self._console.print(table)
        largest = [max(history.differences(plain)) for _, history, plain in results]
        self._console.print(
            f"\n[bold green]The losses agree[/] at each of {len(runs[0].loss)} steps; largest difference "
            + ", ".join(f"{d:.1e} ({name.lower()})" for d, (name, *_) in zip(largest, results, strict=True))
            + f".\nPicture: {picture}"
        )
