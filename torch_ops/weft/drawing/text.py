"""Drawings made of characters. A line is its pieces, each with a style of rich's."""

from __future__ import annotations

from collections.abc import Sequence

from .colours import as_hex, colour_of, ink_on
from .held import Part, Shown, ranks_text
from .layers import Layer

_MOST_ROWS, _MOST_COLUMNS = 8, 6  # parts along a side; of more the middle is left out

Line = list[tuple[str, str]]


def lines_of(layers: Sequence[Layer], width: int) -> list[Line]:
    """The layers one below the other, the variables of each side by side."""
    out: list[Line] = []
    for layer in layers:
        out += [[(layer.name, "bold"), (f"  {layer.kind}" if layer.kind else "", "dim")]]
        blocks = [_block(v, group.name) for group in layer.groups for v in group.variables]
        out += _flow(blocks, width)
    return out


def plain(lines: Sequence[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def _width(line: Line) -> int:
    return sum(len(text) for text, _ in line)


def _block(shown: Shown, owner: str) -> list[Line]:
    """A variable's rectangle, and what it is below it."""
    name = f"{owner}/{shown.name}" if owner else shown.name
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, shown.shape)) or "a number"
    return [*_box(shown), [(name, "")], [(shape, "dim")], [(str(shown.layout), "green")]]


def _box(shown: Shown) -> list[Line]:
    rows = _shortened(sorted({(p.top, p.bottom) for p in shown.parts}), _MOST_ROWS)
    columns = _shortened(sorted({(p.left, p.right) for p in shown.parts}), _MOST_COLUMNS)
    cells = {((p.top, p.bottom), (p.left, p.right)): p for p in shown.parts}
    if not cells:
        return [[("(empty)", "dim")]]
    mesh = shown.layout.device_mesh
    labels = {place: f" {ranks_text(part.ranks, mesh.size)} " for place, part in cells.items()}
    widths = [
        1 if column is None else max([3, *(len(labels[r, column]) for r in rows if (r, column) in labels)])
        for column in columns
    ]
    separated = len(rows) <= _MOST_ROWS // 2
    rule = lambda left, cross, right: [(left + cross.join("─" * w for w in widths) + right, "dim")]  # noqa: E731
    out: list[Line] = [rule("┌", "┬", "┐")]
    for row in rows:
        if separated and len(out) > 1:
            out.append(rule("├", "┼", "┤"))
        line: Line = [("│", "dim")]
        for column, width in zip(columns, widths, strict=True):
            part = cells.get((row, column)) if row is not None and column is not None else None
            text = labels[row, column] if part is not None else "…" if row is not None else "⋮"
            line += [(text.center(width), _style(part, shown)), ("│", "dim")]
        out.append(line)
    return [*out, rule("└", "┴", "┘")]


def _style(part: Part | None, shown: Shown) -> str:
    if part is None:
        return "dim"
    colour = colour_of(part.ranks, shown.layout.device_mesh)
    return f"{ink_on(colour)} on {as_hex(colour)}"


def _shortened(spans: list, most: int) -> list:
    """None in the place of what is left out."""
    return spans if len(spans) <= most else [*spans[: most // 2], None, *spans[-(most // 2 - 1) :]]


def _flow(blocks: Sequence[list[Line]], width: int) -> list[Line]:
    """Blocks from left to right, in as many rows as they take."""
    rows: list[list[list[Line]]] = [[]]
    used = 0
    for block in blocks:
        wide = max(map(_width, block)) + 3
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0
        rows[-1].append(block)
        used += wide
    out: list[Line] = []
    for row in rows:
        for n in range(max((len(block) for block in row), default=0)):
            line: Line = [("  ", "")]
            for block in row:
                here = block[n] if n < len(block) else []
                line += [*here, (" " * (max(map(_width, block)) - _width(here) + 1), "")]
            out.append(line)
        out.append([])
    return out
