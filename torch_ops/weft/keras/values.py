"""Sharded values as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import weft

from . import versions
from .hooks import rebind


def whole(value: Any) -> Any:
    """A sharded tensor as a plain one on every rank; anything else as it is. A collective, unless it is replicated."""
    return weft.full_tensor(value.detach()) if weft.is_sharded(value) else value


def install(keras: versions.Keras) -> None:
    original: Callable = keras.core.convert_to_numpy

    def convert_to_numpy(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return original([whole(e) for e in x])
        return original(whole(x.value if isinstance(x, keras.core.Variable) else x))

    rebind(original, convert_to_numpy)


def is_everywhere(value: torch.Tensor) -> bool:
    """Whether every rank has the whole value, so that reading it needs no other rank."""
    if not weft.is_sharded(value):
        return True
    layout = weft.layout_of(value)
    return not layout.partial and not any(layout.axes)
