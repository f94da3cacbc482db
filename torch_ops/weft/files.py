"""Files that a program asks for."""

from __future__ import annotations

import os

import torch

from . import _library  # noqa: F401
from .arguments import needed
from .strings import checked


def file_name(path: str | os.PathLike, what: str) -> str:
    """The path as text.

    Raises:
        ValueError: naming `what`: it is none.
    """
    return checked(os.fsdecode(needed(path, (str, os.PathLike), what)), what)


def write_file(path: str, content: bytes) -> None:
    """Writes a file of that content alone, in one step in the place of one that is there; a pipe or a device itself.

    Raises:
        ValueError: it cannot be written; what is there is as it was.
    """
    torch.ops.weft._write_file(path, torch.frombuffer(bytearray(content), dtype=torch.uint8))
