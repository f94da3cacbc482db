"""What the demos' views have in common: titles, a progress bar, and plain lines where the output is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from console import new_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class View:
    """Prints on one rank, is silent on the others."""

    columns: tuple[str, ...]  # of the progress bar, with {task.fields[name]} for the fields that a step gives
    lines: int  # how many steps get a line where there is no terminal

    def __init__(self, on: bool) -> None:
        self._console = new_console(on)
        self._progress: Progress | None = None
        self._steps = 0

    def title(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}")

    @contextmanager
    def training(self, steps: int) -> Iterator[None]:
        """Shows a progress bar where there is a terminal."""
        self._steps = steps
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        columns = [
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            *map(TextColumn, self.columns),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self._console) as self._progress:
            self._task = self._progress.add_task("training", total=steps, visible=False)  # its fields come with a step
            yield
        self._progress = None

    def _show(self, step: int, line: str, **fields: str) -> None:
        """The step in the progress bar; without one, its line where it is one of those to be shown."""
        if self._progress:
            self._progress.update(self._task, completed=step, visible=True, **fields)
        elif step in (1, self._steps) or step % max(1, self._steps // self.lines) == 0:
            self._console.print(line)
