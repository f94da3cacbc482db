"""What the demo prints: the layout table, the progress, the generated text and the summary."""

import statistics
from collections import Counter

import view
import weft
from rich.table import Table
from weft.text_table import human


class History:
    """Both models' losses and times, and what the ranks sent."""

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.plain_loss: list[float] = []
        self.seconds: list[float] = []
        self.plain_seconds: list[float] = []
        self.moved = weft.Trace()  # of the last step

    def add(self, loss: float, plain_loss: float, seconds: float, plain_seconds: float, moved: weft.Trace) -> None:
        self.loss.append(loss)
        self.plain_loss.append(plain_loss)
        self.seconds.append(seconds)
        self.plain_seconds.append(plain_seconds)
        self.moved = moved

    @property
    def differences(self) -> list[float]:
        return [abs(a - b) for a, b in zip(self.loss, self.plain_loss, strict=True)]


class View(view.View):
    columns = (
        "loss [bold]{task.fields[loss]}[/] plain [bold]{task.fields[plain]}[/]",
        "{task.fields[rate]} tokens/s  {task.fields[sent]}/step",
    )
    lines = 16

    def layouts(self, report: weft.Report) -> None:
        self._console.print()
        self._console.print(report)

    def step(self, step: int, history: History, tokens: int) -> None:
        loss, plain = f"{history.loss[-1]:.5f}", f"{history.plain_loss[-1]:.5f}"
        rate, sent = f"{tokens / history.seconds[-1]:,.0f}", human(history.moved.total_bytes)
        line = (
            f"step {step:4d}/{self._steps}   loss {loss}   plain {plain}   difference {history.differences[-1]:.1e}"
            f"   {rate:>6} tokens/s   {sent} sent per rank"
        )
        self._show(step, line, loss=loss, plain=plain, rate=rate, sent=sent)

    def generated(self, text: str, same: int, total: int, seconds: float, plain_seconds: float) -> None:
        verdict = "the same tokens as" if same == total else f"the first {same} of {total} tokens are those of"
        self.title("Text from the sharded model's generate()")
        shown = "".join(c if c.isprintable() or c == "\n" else "\N{MIDDLE DOT}" for c in text)
        self._console.print(shown, style="green", markup=False)
        self._console.print(f"({verdict} the plain model; {seconds:.1f} s, plain {plain_seconds:.1f} s)")

    def summary(self, history: History, picture: str) -> None:
        ms = lambda values: f"{1000 * statistics.median(values[1:] or values):.0f} ms"  # noqa: E731
        self.title("Summary")
        table = Table(show_edge=False)
        table.add_column("")
        table.add_column("sharded, 4 processes", justify="right")
        table.add_column("plain, 1 process", justify="right")
        table.add_row("first loss", f"{history.loss[0]:.6f}", f"{history.plain_loss[0]:.6f}")
        table.add_row("last loss", f"{history.loss[-1]:.6f}", f"{history.plain_loss[-1]:.6f}")
        table.add_row("time of the first step", ms(history.seconds[:1]), ms(history.plain_seconds[:1]))
        table.add_row("time per step (median)", ms(history.seconds), ms(history.plain_seconds))
        self._console.print(table)

        calls: Counter[tuple] = Counter()
        sizes: Counter[tuple] = Counter()
        for row in history.moved.rows:
            calls[row.kind, row.axis] += 1
            sizes[row.kind, row.axis] += row.bytes
        table = Table(show_edge=False, show_footer=True)
        table.add_column("collectives of one step", "all")
        table.add_column("axis")
        table.add_column("calls", str(len(history.moved)), justify="right")
        table.add_column("sent per rank", human(history.moved.total_bytes), justify="right")
        for (kind, axis), size in sizes.most_common():
            table.add_row(kind, axis, str(calls[kind, axis]), human(size))
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"\n[bold green]The losses agree[/] at each of {len(history.loss)} steps; largest difference "
            f"{max(history.differences):.1e}.\nPicture: {picture}"
        )
