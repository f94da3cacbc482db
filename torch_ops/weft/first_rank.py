"""Warnings of a program that all ranks run."""

from __future__ import annotations

import warnings

import torch

from . import _library  # noqa: F401


def warn(text: str, stacklevel: int = 2) -> None:
    """Warns on the first rank: the others are in the same place, so that one of them is enough to tell."""
    if torch.ops.weft.rank() == 0:
        warnings.warn(text, stacklevel=stacklevel + 1)
