"""The table of a report: a row for the variables of one pattern and layout, as text and in colours."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import spans
from .notes import told
from .text_table import human, table

if TYPE_CHECKING:
    from .reporting import Report, ReportRow

_NAMED = 8  # variables of a row, and notes of a kind


class Group(NamedTuple):
    """The variables of one pattern and layout."""

    names: list[str]
    pattern: str  # or that there is none; empty: the variable's own path
    layout: str
    bytes: int
    bytes_per_rank: int


def groups_of(rows: Iterable[ReportRow]) -> list[Group]:
    found: dict[tuple, list[ReportRow]] = {}
    for row in rows:
        found.setdefault((row.pattern, row.layout), []).append(row)
    out = []
    for (pattern, layout), alike in found.items():
        names = joined(spans.alike(row.path for row in alike))
        if len(names) > _NAMED:
            names = [*names[:_NAMED], f"and {len(names) - _NAMED} others"]
        out.append(
            Group(
                names,
                "" if [pattern] == names else pattern or "no pattern: whole on every rank",
                layout,
                sum(row.bytes for row in alike),
                sum(row.bytes_per_rank for row in alike),
            )
        )
    return out


def joined(names: Sequence[str]) -> list[str]:
    """Paths that differ in some places as one: a/b_x and a/c_x are a/{b,c}_x. As they are where no such are there."""
    parts = [name.split("/") for name in names]
    if len({len(p) for p in parts}) == 1:
        places = [list(dict.fromkeys(place)) for place in zip(*parts, strict=True)]
        if math.prod(map(len, places)) == len(names):
            return ["/".join(_braces(place) for place in places)]
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"\d+", "", name.rpartition("/")[0]), []).append(name)
    if len(alike) == 1:
        return list(names)
    return [name for group in alike.values() for name in joined(group)]


def _braces(words: Sequence[str]) -> str:
    """Words with what they share outside the braces."""
    if len(words) == 1:
        return words[0]
    start = os.path.commonprefix(list(words)).rfind("_") + 1
    rests = [word[start:] for word in words]
    end = os.path.commonprefix([rest[::-1] for rest in rests]).rfind("_") + 1
    middles = ",".join(rest[: len(rest) - end] for rest in rests)
    return f"{words[0][:start]}{{{middles}}}{rests[0][len(rests[0]) - end :]}"


def _notes(report: Report) -> list[str]:
    """The notes in words, of which a kind that has many shows some."""
    out, notes = [], told(report.notes)
    for kind in dict.fromkeys(kind for kind, _ in notes):
        texts = [text for of, text in notes if of == kind]
        out += texts[:_NAMED]
        if len(texts) > _NAMED:
            out.append(f"{len(texts) - _NAMED} more notes of the kind {kind}")
    return out


def plain(report: Report) -> str:
    lines: list[tuple] = [("variables", "layout", "bytes", "on a rank")]
    for group in groups_of(report.rows):
        lines.append((group.names[0], group.layout, human(group.bytes), human(group.bytes_per_rank)))
        lines += [(name, "", "", "") for name in group.names[1:]]
        lines += [(f"  {group.pattern}", "", "", "")] if group.pattern else []
    lines.append(("all", "", human(report.bytes), human(report.bytes_per_rank)))
    notes = [f"note: {text}" for text in _notes(report)]
    return "\n".join([f"who gets what on {report.mesh}", "", table(lines, right=(2, 3)), *notes])


def coloured(report: Report) -> Any:
    """The report as rich prints it, in colours."""
    from rich import box
    from rich.console import Group as Together
    from rich.table import Table
    from rich.text import Text

    out = Table(box=box.SIMPLE_HEAD, show_footer=True)
    out.add_column("variables\n[cyan]pattern that matched", "all", overflow="fold")
    out.add_column("layout", style="green", no_wrap=True)
    out.add_column("bytes", human(report.bytes), justify="right", no_wrap=True)
    out.add_column("on a rank", human(report.bytes_per_rank), justify="right", no_wrap=True)
    for group in groups_of(report.rows):
        names = Text("\n".join(group.names)) + Text(f"\n{group.pattern}" if group.pattern else "", style="cyan")
        out.add_row(names, group.layout, human(group.bytes), human(group.bytes_per_rank))
    notes = [Text(f"note: {text}", style="yellow") for text in _notes(report)]
    return Together(Text(f"Who gets what on {report.mesh}", style="bold"), out, *notes)
