"""Sharded values as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import weft

from . import versions
from .hooks import rebind

_gathered = 0
_skip = 0


def full(value: Any) -> Any:
    """A sharded tensor as a plain one on every rank; anything else as it is. A collective, unless it is replicated."""
    global _gathered, _skip
    if not weft.is_sharded(value):
        return value
    if not is_everywhere(value):
        if _skip > 0:
            _skip -= 1
            return torch.zeros(value.shape, dtype=value.dtype)
        _gathered += 1
    return weft.full_tensor(value.detach())


def gathered() -> int:
    """How many values `full` has gathered from all ranks so far."""
    return _gathered


@contextmanager
def skipping(count: int) -> Iterator[None]:
    """The first `count` values that would be gathered are zeros: this rank has gathered them before."""
    global _skip
    _skip = count
    try:
        yield
    finally:
        _skip = 0


def install(keras: versions.Keras) -> None:
    original: Callable = keras.core.convert_to_numpy

    def convert_to_numpy(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return original([full(e) for e in x])
        return original(full(x.value if isinstance(x, keras.core.Variable) else x))

    rebind(original, convert_to_numpy)


def is_everywhere(value: torch.Tensor) -> bool:
    """Whether every rank has the whole value, so that reading it needs no other rank."""
    return torch.ops.weft.is_replicated(value)
