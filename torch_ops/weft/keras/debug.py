"""KERAS_DISTRIBUTION_DEBUG=1: the layouts of batches. The library itself shows variables and collectives."""

from __future__ import annotations

import os
import sys

import torch

import weft

_seen: set[tuple] = set()


def on() -> bool:
    return os.environ.get("KERAS_DISTRIBUTION_DEBUG", "0") not in ("", "0")


def batch(tensor: torch.Tensor) -> None:
    """One line for each batch tensor of a new shape."""
    if not on():
        return
    layout = weft.layout_of(tensor)
    key = tuple(tensor.shape), str(layout)
    if key not in _seen:
        _seen.add(key)
        _line(f"batch {tuple(tensor.shape)} {tensor.dtype}: layout {layout}, local shape {_local_shape(tensor)}")


def _local_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(weft.local_tensor(tensor).shape)


def _line(text: str) -> None:
    # One write, so that ranks do not mix lines.
    sys.stderr.write(f"[weft rank {weft.rank()}] {text}\n")
