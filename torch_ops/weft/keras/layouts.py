"""Keras's TensorLayout, LayoutMap and DataParallel: what they refuse or overlook on torch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch

import weft
from weft import first_rank
from weft.errors import coded

from . import versions
from .hooks import wrap

Axes = tuple  # one entry per dimension: None, an axis, or a tuple of axes


class Match:
    """The rule that a path found."""

    def __init__(self, pattern: str, layout: Any) -> None:
        self.pattern, self.layout = pattern, layout


def find(layout_map: Any, path: str, module_type: str = "") -> Match | None:
    """The rule of a Keras LayoutMap for a path in "/" or "." form: the exact key, else the one that matches in full.

    Args:
        module_type: class name of the layer that owns the variable. With it a rule may name the leaf as torch does
            (weight for a Dense's kernel), its axes then being in torch's order of dimensions.

    Raises:
        ValueError: several rules match; names them all.
    """
    known = vars(layout_map).setdefault("_weft_found", {})  # until the next change of the map
    key = path, module_type
    if key not in known:
        known[key] = _find(layout_map, path, module_type)
    return known[key]


def _find(layout_map: Any, path: str, module_type: str) -> Match | None:
    rules = layout_map._layout_map
    forms = torch.ops.weft.spellings(path, module_type)
    for spelling, order in zip(*forms, strict=True):
        if spelling in rules:
            return Match(spelling, _in_order(rules[spelling], order, layout_map))
    hits: dict[str, Match] = {}
    for spelling, order in zip(*forms, strict=True):
        for pattern, layout in rules.items():
            if pattern not in hits and re.fullmatch(pattern, spelling):
                hits[pattern] = Match(pattern, _in_order(layout, order, layout_map))
    if len(hits) > 1:
        raise ValueError(
            f"[W041] Path '{path}' matches multiple layout specification keys: {list(hits)}. Please make sure each "
            "tensor/variable path only matches at most one layout specification key in the LayoutMap."
        )
    return next(iter(hits.values()), None)


def _in_order(layout: Any, order: list[int], layout_map: Any) -> Any:
    """The layout for our order of dimensions; `order[d]` is the rule's dimension that is our d."""
    if not order or len(order) != len(layout.axes):
        return layout
    axes = tuple(layout.axes[d] if d >= 0 else None for d in order)
    return type(layout)(axes, layout_map.device_mesh)


def found(layout_map: Any) -> list[tuple[str, str]]:
    """(path, module type) of all that has found a rule of the map: variables, layers' outputs."""
    return [key for key, match in vars(layout_map).get("_weft_found", {}).items() if match is not None]


def weft_map(layout_map: Any) -> weft.LayoutMap:
    """The rules as a weft.LayoutMap.

    Raises:
        ValueError: a pattern that RE2 does not take (look-around, backreferences).
    """
    out = weft.LayoutMap(layout_map.device_mesh.backend_mesh)
    for pattern, layout in layout_map._layout_map.items():
        out[pattern] = layout.axes
    return out


def axis_names(axes: Iterable[Any]) -> list[str]:
    """All axes of a layout, in order."""
    flat: list[str] = []
    for entry in axes:
        if entry is not None:
            flat += entry if isinstance(entry, (list, tuple)) else [entry]
    return flat


def install(keras: versions.Keras) -> None:
    lib = keras.distribution
    _install_layout(lib)
    _install_map(lib)
    _install_data_parallel(lib)


def _install_layout(lib: Any) -> None:
    @wrap(lib.TensorLayout, "__init__")
    def _(original: Callable, self: Any, axes: Iterable[Any], device_mesh: Any = None) -> None:
        axes = tuple(tuple(a) if isinstance(a, (list, tuple)) else a for a in axes)
        names = axis_names(axes)
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(
                f"[W027] Layout {axes} uses the mesh axis {twice[0]!r} twice; an axis splits one dimension only"
            )
        original(self, axes, device_mesh)

    @wrap(lib.TensorLayout, "_validate_axes")
    def _(original: Callable, self: Any) -> None:
        axes = self._axes
        try:  # Keras's check knows one axis per dimension
            self._axes = tuple(axis_names(axes))
            original(self)
        finally:
            self._axes = axes


def _install_map(lib: Any) -> None:
    @wrap(lib.LayoutMap, "__getitem__")
    def _(original: Callable, self: Any, key: str) -> Any:
        match = find(self, key)
        return match and match.layout

    @wrap(lib.LayoutMap, "__setitem__")
    def _(original: Callable, self: Any, key: str, layout: Any) -> None:
        vars(self).pop("_weft_found", None)
        if not isinstance(layout, list):
            original(self, key, layout)
            return
        try:  # Keras's documentation has lists, its code has not
            original(self, key, tuple(layout))
        except ValueError as e:
            raise ValueError(
                coded("W026", f"{layout} should be a TensorLayout, or a tuple or list of axes: {e}")
            ) from e

    @wrap(lib.LayoutMap, "__delitem__")
    def _(original: Callable, self: Any, key: str) -> None:
        vars(self).pop("_weft_found", None)
        original(self, key)


def _install_data_parallel(lib: Any) -> None:
    @wrap(lib.DataParallel, "_initialize_with_device_mesh")
    def _(original: Callable, self: Any, device_mesh: Any, auto_shard_dataset: bool) -> None:
        # Keras means to warn here, and its call of warnings.warn raises TypeError.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(device_mesh, lib.DeviceMesh) and device_mesh.devices.ndim != 1:
                lib.Distribution.__init__(self, device_mesh, device_mesh.axis_names[0], auto_shard_dataset)
            else:
                original(self, device_mesh, auto_shard_dataset)
                return
        first_rank.warn(
            f"[W133] DataParallel on a mesh of {device_mesh.devices.ndim} axes: the batch is split over the first, "
            f"{device_mesh.axis_names[0]!r}",
            stacklevel=3,
        )
