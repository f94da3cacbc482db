"""KERAS_DISTRIBUTION_DEBUG=1: the layouts of batches. The library itself shows variables and collectives."""

from __future__ import annotations

import os
import sys

import torch

import weft

_on = os.environ.get("KERAS_DISTRIBUTION_DEBUG", "").lower() in ("1", "true", "yes", "on")  # what the library takes
_seen: set[tuple] = set()


def batch(tensor: torch.Tensor) -> None:
    """One line for each batch tensor of a new shape."""
    if not _on:
        return
    layout = weft.layout_of(tensor)
    key = tuple(tensor.shape), tensor.dtype, layout
    if key in _seen:
        return
    _seen.add(key)
    local = tuple(weft.local_tensor(tensor).shape)
    # One write, so that ranks do not mix lines.
    sys.stderr.write(
        f"[weft rank {weft.rank()}] debug: batch {tuple(tensor.shape)} {tensor.dtype}: layout {layout}, "
        f"local shape {local}\n"
    )
