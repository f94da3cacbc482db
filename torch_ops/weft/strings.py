"""Users' strings: those that C++ can take, and how errors show them."""

from __future__ import annotations

from typing import Any

_SHOWN = 300  # characters


def checked(value: Any, what: str) -> str:
    """`value`, a str of characters.

    Raises:
        ValueError: naming `what`: another type, or a lone surrogate, which is no character and has no UTF-8.
    """
    if not isinstance(value, str):
        raise ValueError(f"[W048] {what} must be a str, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"[W048] {what} {shown(value)} has a lone surrogate at position {error.start}, which is no character"
            ) from None
    return value


def shown(value: Any) -> str:
    """A value as errors show it: `repr`, cut to a bounded length."""
    whole = repr(value)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}… ({len(whole)} characters)"


def listed(names: list[str]) -> str:
    """The first of them, and how many others there are."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} others" if len(names) > 20 else "")
