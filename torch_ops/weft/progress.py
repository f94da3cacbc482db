"""A bar on the terminal for work that takes long."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import torch


@contextlib.contextmanager
def progress(title: str, total: int, is_long: bool = True) -> Iterator[Callable[[], None]]:
    """A bar on the first rank's standard error, where that is a terminal, rich is there and the work is long; gone when
    it is done.

    Yields:
        What is called as often as `total` says.
    """
    if not is_long or torch.ops.weft.rank() != 0 or not sys.stderr.isatty():
        yield _nothing
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield _nothing
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def _nothing() -> None: ...
