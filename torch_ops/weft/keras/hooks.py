"""Replacing a function of Keras wherever Keras has bound it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any


def rebind(original: Any, replacement: Any) -> None:
    """Puts `replacement` where any module of Keras holds `original` under its own name."""
    name = original.__name__
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".", 1)[0] == "keras" and vars(module).get(name) is original:
            setattr(module, name, replacement)


def wrap(owner: Any, name: str) -> Callable:
    """Decorator: replaces a method by one that is given the original first."""

    def decorate(function: Callable) -> Callable:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, name, wrapped)
        return function

    return decorate
