"""Codes of errors and warnings: each text begins with that of its kind, as those of C++ do."""

from __future__ import annotations

import torch

from . import _library  # noqa: F401
from .strings import checked


def explain_error(message: str) -> str:
    """What an error or a warning of that kind means, what causes it and what to do.

        print(weft.explain_error("W041"))

    Args:
        message: a code, or the whole text of an error, which begins with one.

    Raises:
        ValueError: there is no such code.
    """
    return torch.ops.weft.explain_error(checked(message, "explain_error: the message"))


def coded(code: str, text: str) -> str:
    """Puts a code in front of a text that holds another error's: that one's code, or `code` where it has none."""
    return torch.ops.weft._coded(code, text)
