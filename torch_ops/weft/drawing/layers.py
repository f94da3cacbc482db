"""A module as what a drawing shows: a layer for each module that has variables, repeated ones as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from ..layout_map import LayoutMap
from ..mesh import TensorLayout
from ..slots import Slot, module_type, slots_of
from ..spans import generic, merged
from ..tensors import is_sharded, layout_of
from .held import Shown, shown


class Group(NamedTuple):
    """Variables that belong together, inside a layer."""

    name: str
    variables: list[Shown]


class Layer(NamedTuple):
    """A module and those inside it; without groups it has no variables."""

    name: str
    kind: str
    groups: list[Group]


class _Variable(NamedTuple):
    words: tuple[str, ...]
    shape: tuple[int, ...]
    layout: TensorLayout
    kind: str  # the type of the module that it is shown with


def layers_of(module: torch.nn.Module, layout_map: LayoutMap | None) -> list[Layer]:
    """Layers in the module's order, of the variables as they lie or as the map would lay them out.

    A variable belongs to the outermost module whose name is a number, as those of lists are, else to its own one.

    Raises:
        ValueError: a variable is plain, and there is no map; or what the map's look-ups raise.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    instances: dict[tuple[str, ...], list[_Variable]] = {}
    seen: set[int] = set()
    for slot in slots_of(module):
        if id(slot.tensor) in seen:
            continue
        seen.add(id(slot.tensor))
        words = tuple(slot.path.split("."))
        number = next((n for n, word in enumerate(words[:-1], 1) if word.isdecimal()), len(words) - 1)
        kind = type(modules[".".join(words[:number])]).__name__
        variable = _Variable(words[number:], tuple(slot.tensor.shape), _layout(slot, layout_map), kind)
        instances.setdefault(words[:number], []).append(variable)
    alike: dict[tuple, list[tuple[str, ...]]] = {}
    for place, variables in instances.items():
        alike.setdefault((generic(place), tuple(variables)), []).append(place)
    return [
        Layer(merged(places) or "the module", _counted(variables[0].kind, len(places)), _groups(variables))
        for (_, variables), places in alike.items()
    ]


def _layout(slot: Slot, layout_map: LayoutMap | None) -> TensorLayout:
    if is_sharded(slot.tensor):
        return layout_of(slot.tensor)
    if layout_map is None:
        raise ValueError(f"[W035] draw: {slot.path} is a plain tensor; distribute the module, or pass its layout map")
    return layout_map.layout_for(slot.path, slot.tensor.shape, module_type(slot.owner))


def _groups(variables: Iterable[_Variable]) -> list[Group]:
    """Variables by the modules inside the layer that own them."""
    owners: dict[tuple[str, ...], list[_Variable]] = {}
    for v in variables:
        owners.setdefault(v.words[:-1], []).append(v)
    alike: dict[tuple, list[tuple[str, ...]]] = {}
    for owner, own in owners.items():
        signature = tuple((v.words[-1], v.shape, v.layout) for v in own)
        alike.setdefault((generic(owner), signature), []).append(owner)
    return [
        Group(_counted(merged(places), len(places)), [shown(name, shape, layout) for name, shape, layout in signature])
        for (_, signature), places in alike.items()
    ]


def _counted(name: str, times: int) -> str:
    return f"{name} \N{MULTIPLICATION SIGN}{times}" if times > 1 else name
