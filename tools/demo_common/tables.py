"""What the demos print alike: the console, sizes, and the table of layouts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # the plain process of the Keras demo has no Weft
    import weft


def new_console(on: bool) -> Console:
    """Prints on one rank, is silent on the others; wide where the output is no terminal."""
    console = Console(quiet=not on, highlight=False)
    if not console.is_terminal:
        console.width = 132
    return console


def human(size: float) -> str:
    """Bytes for people: 1.5 MiB."""
    for unit in ("B", "KiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.2f} MiB"


def kind_of(path: str) -> str:
    """The path with its layer numbers left out: one name for the same weight of all layers."""
    return re.sub(r"\b\d+\b", "*", path.replace(".", "/"))


def merged(names: list[str]) -> str:
    """Paths that differ in some places as one: a/b_x and a/c_x are a/{b,c}_x. One a line where no such is there."""
    parts = [name.split("/") for name in names]
    if len({len(p) for p in parts}) == 1:
        places = [list(dict.fromkeys(place)) for place in zip(*parts, strict=True)]
        if math.prod(map(len, places)) == len(names):
            return "/".join(_braces(place) for place in places)
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"\d+", "", name.rpartition("/")[0]), []).append(name)
    if len(alike) == 1:
        return "\n".join(names)
    return "\n".join(merged(group) for group in alike.values())


def _braces(words: list[str]) -> str:
    """Words with what they share outside the braces."""
    if len(words) == 1:
        return words[0]
    start = os.path.commonprefix(words).rfind("_") + 1
    rests = [word[start:] for word in words]
    end = os.path.commonprefix([rest[::-1] for rest in rests]).rfind("_") + 1
    middles = ",".join(rest[: len(rest) - end] for rest in rests)
    return f"{words[0][:start]}{{{middles}}}{rests[0][len(rests[0]) - end :]}"


def print_layouts(console: Console, report: weft.Report, kind_of: Callable[[str], str] = str) -> None:
    """One row for the variables of one pattern and layout, and the report's notes.

    Args:
        kind_of: gives the same variable of all layers one name.
    """
    console.print(f"\n[bold]Who gets what on {report.mesh}")
    groups: dict[tuple, list] = {}
    for row in report.rows:
        groups.setdefault((row.pattern, row.layout), []).append(row)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("variables\n[cyan]pattern that matched", "all", overflow="fold")
    table.add_column("layout", style="green", no_wrap=True)
    table.add_column("bytes", human(report.bytes), justify="right", no_wrap=True)
    table.add_column("on a rank", human(report.bytes_per_rank), justify="right", no_wrap=True)
    for (pattern, layout), rows in groups.items():
        table.add_row(
            Text(merged(list(dict.fromkeys(kind_of(r.path) for r in rows))))
            + Text(f"\n{pattern or 'no pattern: whole on every rank'}", style="cyan"),
            layout,
            human(sum(r.bytes for r in rows)),
            human(sum(r.bytes_per_rank for r in rows)),
        )
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note.text}", style="yellow")
