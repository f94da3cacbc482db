"""torch.compile that records sharded programs, for the tests of it."""

import contextlib
import importlib.util
from collections.abc import Iterator

import pytest
import weft

THERE = importlib.util.find_spec("torch._functorch._aot_autograd.subclass_codegen") is not None
needed = pytest.mark.skipif(not THERE, reason="weft.compile_graphs needs torch 2.15")


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Within it, what is compiled is recorded."""
    before = weft.compile_graphs()
    try:
        yield
    finally:
        weft.compile_graphs(before)
