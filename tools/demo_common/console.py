"""What the demos print alike: the console, and sizes."""

from __future__ import annotations

from rich.console import Console


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
