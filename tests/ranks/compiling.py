"""torch.compile that records sharded programs, for the tests of it."""

import contextlib
from collections.abc import Iterator

import pytest
import weft
from support.versions import COMPILED_GRAPHS

needed = pytest.mark.skipif(not COMPILED_GRAPHS, reason="weft.compile_graphs needs torch 2.15")


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Within it, what is compiled is recorded."""
    before = weft.compile_graphs()
    try:
        yield
    finally:
        weft.compile_graphs(before)
