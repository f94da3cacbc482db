"""How a layout is written: the mesh axes of each tensor dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from .strings import checked, shown

_T_co = TypeVar("_T_co", covariant=True)


class SequenceNotStr(Protocol[_T_co]):
    """A tuple, list or the like. A str is none: what it contains are str alone."""

    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: int, /) -> _T_co: ...
    def __iter__(self) -> Iterator[_T_co]: ...
    def __len__(self) -> int: ...


Axes = SequenceNotStr["str | SequenceNotStr[str] | None"]  # one entry per tensor dimension


def names_tuple(names: Any, what: str) -> tuple[str, ...]:
    """Names that are no single str.

    Raises:
        ValueError: naming `what`.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"[W021] {what}s: expected a tuple of names, such as ('model',); got {shown(names)}")
    return tuple(checked(name, what) for name in names)


def axes_tuple(axes: Any, what: str = "axes") -> tuple:
    """Lists do not pass to torch's classes as Any: tuples throughout.

    Raises:
        ValueError: naming `what`: no sequence, or one of something else than axis names, None and tuples of axis names.
    """
    if isinstance(axes, str):
        name = shown(axes)
        raise ValueError(
            f"[W026] {what}: expected one entry per tensor dimension, but {name} is a single name; write ({name},) for "
            f"a vector, ({name}, None) or (None, {name}) for a matrix"
        )
    if not isinstance(axes, Sequence):
        raise ValueError(
            f"[W026] {what}: expected a tuple with one entry per tensor dimension, such as (None, 'model'); got "
            f"{shown(axes)}"
        )
    return tuple(
        tuple(_axis(name, what) for name in a) if isinstance(a, (list, tuple)) else a if a is None else _axis(a, what)
        for a in axes
    )


def _axis(name: Any, what: str) -> str:
    if not isinstance(name, str):
        raise ValueError(
            f"[W026] {what}: expected an axis name, None or a tuple of axis names per dimension; {shown(name)} is none "
            "of them"
        )
    return checked(name, "axis name")
