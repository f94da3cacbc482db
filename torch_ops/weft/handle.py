"""What the Python faces of C++ objects have in common."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Handle:
    """Holds a C++ object; equal to a handle of the same one."""

    _object: Any

    @classmethod
    def _wrap(cls, obj: Any) -> Self:
        handle = cls.__new__(cls)
        handle._object = obj
        return handle

    @functools.cached_property
    def _id(self) -> int:
        return self._object.id()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)


class Interned(Handle):
    """A handle of an object that never changes: equal ones are one, and a copy is the same."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __reduce__(self) -> tuple:
        return _unpickle, (type(self), self._object)

    def __str__(self) -> str:
        return str(self._object.__str__())


def _unpickle(kind: type[Handle], obj: Any) -> Handle:
    return kind._wrap(obj)
