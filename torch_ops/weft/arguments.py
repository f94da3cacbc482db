"""Arguments of a type that was not meant, refused before anything is done with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import NoneType
from typing import Any

import torch

_NAMES = {
    torch.nn.Module: "torch.nn.Module",
    torch.Tensor: "torch.Tensor",
    Mapping: "mapping",
    os.PathLike: "path",
    NoneType: "None",
}


def needed(value: Any, kinds: type | tuple[type, ...], what: str) -> Any:
    """The value.

    Raises:
        ValueError: naming `what`: it is of none of these types.
    """
    if isinstance(value, kinds):
        return value
    names = [_NAMES.get(kind, kind.__name__) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
    raise ValueError(f"[W038] {what} must be {' or '.join(names)}, not {type(value).__name__}")


def folder(path: Any, what: str) -> str:
    """The path as text.

    Raises:
        ValueError: naming `what`: it is none.
    """
    return os.fspath(needed(path, (str, os.PathLike), what))
