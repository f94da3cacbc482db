"""torch.compile that records sharded programs, for the tests of it."""

import contextlib
from collections.abc import Iterator

import weft


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Within it, what is compiled is recorded."""
    before = weft.compile_graphs()
    try:
        yield
    finally:
        weft.compile_graphs(before)
