"""What the demos print alike: the console."""

from __future__ import annotations

from rich.console import Console


def new_console(on: bool) -> Console:
    """Prints on one rank, is silent on the others; wide where the output is no terminal."""
    console = Console(quiet=not on, highlight=False)
    if not console.is_terminal:
        console.width = 132
    return console
