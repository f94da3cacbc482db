"""Which layout map is the active one, and by which one a module was distributed."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Any

import torch

from .layout_map import LayoutMap

_maps: weakref.WeakKeyDictionary[torch.nn.Module, LayoutMap] = weakref.WeakKeyDictionary()


class register_layouts:  # noqa: N801  (used as a function, and as a scope with `with`)
    """Makes `layout_map` the active one of the process; None: none. As `with` scope: until its end.

        weft.register_layouts(layouts)
        with weft.register_layouts(layouts): ...

    `tag`, `distribute_module` and `from_pretrained` of transformers take it where they are given no map.
    """

    def __init__(self, layout_map: LayoutMap | None) -> None:
        self._before = torch.ops.weft.register_layouts(_object_of(layout_map))
        self._map = layout_map

    def __enter__(self) -> LayoutMap | None:
        return self._map

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        torch.ops.weft.register_layouts(self._before)


def _object_of(layout_map: Any) -> Any:
    if layout_map is None:
        return None
    if not isinstance(layout_map, LayoutMap):
        kind = type(layout_map).__name__
        raise ValueError(f"[W030] register_layouts: a LayoutMap, or None, is needed here, not an object of type {kind}")
    return layout_map._object


def active_layouts() -> LayoutMap | None:
    """The active map."""
    found = torch.ops.weft.active_layouts()
    return LayoutMap._wrap(found) if found is not None else None


def note_map(module: torch.nn.Module, layouts: LayoutMap) -> None:
    """The module has been distributed by that map."""
    _maps[module] = layouts


def map_of(module: torch.nn.Module, given: LayoutMap | None = None) -> LayoutMap | None:
    """The map given, else the one by which the module was distributed, else the active one."""
    for found in (given, _maps.get(module)):
        if found is not None:  # a map without entries is false
            return found
    return active_layouts()


def distributed_modules() -> list[torch.nn.Module]:
    """Those that still live."""
    return list(_maps)
