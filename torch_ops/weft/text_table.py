"""How figures are printed: bytes for people, and aligned columns."""

from __future__ import annotations

import math


def human(size: float) -> str:
    """Bytes for people: 1.5 MiB."""
    if size < 1024:
        return f"{size:.0f} B"
    power = min(int(math.log(size, 1024)), 4)
    return f"{size / 1024**power:.1f} {('', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def table(lines: list[tuple], right: tuple[int, ...] = ()) -> str:
    """Aligned columns; those in `right` to the right."""
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    out = []
    for line in lines:
        cells = [
            cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
