"""Paths that differ in their numbers alone, written as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LISTED = 4  # numbers that are listed one by one


def generic(words: Iterable[str]) -> tuple[str, ...]:
    """The path's words, * for each number."""
    return tuple("*" if word.isdecimal() else word for word in words)


def merged(places: Sequence[tuple[str, ...]]) -> str:
    """One text for places that have one generic form: layers/[0-11]/attention."""
    return "/".join(_span(set(column)) for column in zip(*places, strict=True))


def _span(words: set[str]) -> str:
    if len(words) == 1:
        return next(iter(words))
    numbers = sorted(map(int, words))
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"[{numbers[0]}-{numbers[-1]}]"
    more = ",…" if len(numbers) > _LISTED else ""
    return f"[{','.join(map(str, numbers[:_LISTED]))}{more}]"


def alike(paths: Iterable[str]) -> list[str]:
    """Paths with their numbers put together, in the order in which they first come."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in paths:
        words = tuple(path.replace(".", "/").split("/"))
        found.setdefault(generic(words), []).append(words)
    return [merged(places) for places in found.values()]
