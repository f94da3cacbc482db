"""What the Hugging Face demo prints: each stage's layouts, progress and text, and the summary."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import view
from console import new_console
from rich.table import Table

TOLERANCE = 1e-4  # of the losses, at every step
_TITLES = {
    "plain": "In one plain process: load, train for {steps} steps, save, generate",
    "first": "On four processes: load into shards, train for {half} of {steps} steps, save",
    "second": "On two processes, another mesh: resume from step {half}, train to the end, generate",
}


@dataclasses.dataclass
class Run:
    """What one stage found; it leaves it in a file."""

    loss: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    tokens: list[int] = dataclasses.field(default_factory=list)

    def write(self, folder: Path, stage: str) -> None:
        (folder / f"{stage}.json").write_text(json.dumps(vars(self)))

    @classmethod
    def read(cls, folder: Path, stage: str) -> Run:
        return cls(**json.loads((folder / f"{stage}.json").read_text()))


class View(view.View):
    columns = ("{task.fields[losses]}",)
    lines = 10

    def begin(self, stage: str, steps: int, half: int, model: Any) -> None:
        self.title(_TITLES[stage].format(steps=steps, half=half))
        if stage != "plain":
            import weft

            self._console.print()
            self._console.print(weft.report(model))

    def step(self, step: int, loss: float, plain: float | None, seconds: float) -> None:
        losses = f"loss {loss:.5f}"
        if plain is not None:
            losses += f"   plain {plain:.5f}   difference {abs(loss - plain):.1e}"
        self._show(step, f"step {step:4d}/{self._steps}   {losses}   {1000 * seconds:6.0f} ms", losses=losses)

    def generated(self, text: str) -> None:
        shown = "".join(c if c.isprintable() or c == "\n" else "\N{MIDDLE DOT}" for c in text)
        self._console.print(f"generate(): {shown}", style="green", markup=False)


def summary(plain: Run, first: Run, second: Run, folder: Path, picture: str) -> int:
    """Prints it. Returns the exit code: 1 where a token is another one."""
    console = new_console(True)
    sharded = first.loss + second.loss
    differences = [abs(a - b) for a, b in zip(sharded, plain.loss, strict=True)]
    ms = lambda seconds: f"{1000 * statistics.median(seconds[1:] or seconds):.0f} ms"  # noqa: E731
    table = Table(show_edge=False)
    table.add_column("")
    for title in ("sharded, 4 processes", "resumed, 2 processes", "plain, 1 process"):
        table.add_column(title, justify="right")
    table.add_row("first loss", f"{first.loss[0]:.6f}", f"{second.loss[0]:.6f}", f"{plain.loss[0]:.6f}")
    table.add_row("last loss", f"{first.loss[-1]:.6f}", f"{second.loss[-1]:.6f}", f"{plain.loss[-1]:.6f}")
    table.add_row("time per step (median)", ms(first.seconds), ms(second.seconds), ms(plain.seconds))
    console.print("\n[bold]Summary")
    console.print(table)
    console.print(f"largest difference of a saved weight from the plain run's: {_weights_apart(folder):.1e}")
    same = sum(a == b for a, b in zip(second.tokens, plain.tokens, strict=False))
    if second.tokens != plain.tokens:
        console.print(f"[bold red]generate() gives other tokens[/]: {same} of {len(plain.tokens)} are the same")
        return 1
    console.print(
        f"\n[bold green]The losses agree[/] at each of {len(sharded)} steps, by {max(differences):.1e} at most; all "
        f"{same} tokens are the same.\nPicture: {picture}"
    )
    return 0


def _weights_apart(folder: Path) -> float:
    """How far apart the weights are in the last checkpoints that the two Trainers have written."""
    from safetensors.torch import load_file

    def last(run: str) -> dict:
        newest = max((folder / run).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        return load_file(newest / "model.safetensors")

    ours, theirs = last("sharded"), last("plain")
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
