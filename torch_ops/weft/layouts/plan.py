"""What a map that was made for one module knows beside its entries, and how entries are made of single paths."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from ..layout_map import LayoutMap
from ..mesh import DeviceMesh
from ..slots import module_type, slots_of
from ..strings import checked, shown

_SHOWN = 12  # notes of an axis that print


class Variable(NamedTuple):
    """A parameter under one of its paths."""

    shape: tuple[int, ...]
    module_type: str
    first: str  # the path of the same parameter that comes first; another one where weights are tied


class Note(NamedTuple):
    """Parameters that a layout leaves whole, and why."""

    axis: str
    subject: str  # "layers/[0-11]/gate/weight (4, 32)"
    reason: str
    elements: int

    def __str__(self) -> str:
        return f"whole over {self.axis}: {self.subject}: {self.reason}"


@dataclasses.dataclass
class Plan:
    """What a map was made from: the module's variables, and what was found of them."""

    variables: dict[str, Variable]  # by path
    inner: frozenset[str] = frozenset()  # axes whose splits are gathered where used: of a dimension always the inner
    notes: tuple[Note, ...] = ()
    made: set[str] = dataclasses.field(default_factory=set)  # entries that give way to a user's

    def notes_shown(self) -> list[str]:
        return shown_notes(self.notes, self.variables)

    def copy(self) -> Plan:
        return dataclasses.replace(self, made=set(self.made))

    def given_way(self, pattern: str) -> str | None:
        """The entry that a user's one of that pattern replaces: the same, or the same path in its other form."""
        return next((p for p in (pattern, pattern.replace(".", "/")) if p in self.made), None)


def parameters_of(module: torch.nn.Module, function: str) -> dict[str, Variable]:
    """The module's parameters by path, a tied one under each of its paths.

    Raises:
        ValueError: no module, a lazy parameter, or a name that is no text.
    """
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"[W038] {function}: a torch.nn.Module is needed, got {type(module).__name__}")
    variables: dict[str, Variable] = {}
    first: dict[int, str] = {}
    for path, parameter in module.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(f"[W050] {function}: {path} has no shape yet; run the lazy module once before")
    for slot in slots_of(module):
        if not isinstance(slot.tensor, torch.nn.Parameter):
            continue
        path = checked(slot.path, f"{function}: path")
        known = first.setdefault(id(slot.tensor), path)
        variables[path] = Variable(tuple(slot.tensor.shape), module_type(slot.owner), known)
    return variables


def parts_along(mesh: DeviceMesh, axis: str | Iterable[str], function: str) -> tuple[tuple[str, ...], int]:
    """The axes' names and the number of parts that they make.

    Raises:
        ValueError: no mesh, no axis, or one that the mesh has not.
    """
    if not isinstance(mesh, DeviceMesh):
        raise ValueError(f"[W038] {function}: a weft.DeviceMesh is needed, got {type(mesh).__name__}")
    names = (axis,) if isinstance(axis, str) else tuple(axis) if isinstance(axis, (list, tuple)) else None
    if not names or len(set(map(str, names))) < len(names):
        raise ValueError(f"[W025] {function}: {shown(axis)} is neither a mesh axis nor several different ones")
    parts = 1
    for name in names:
        parts *= mesh.axis_size(name)
    return names, parts


def split_along(shape: tuple[int, ...], dim: int | None, axes: tuple[str, ...]) -> tuple:
    """`axes` for dimension `dim`, None for the others; no dimension: None for all."""
    return tuple((axes[0] if len(axes) == 1 else axes) if d == dim else None for d in range(len(shape)))


def made_map(mesh: DeviceMesh, plan: Plan, splits: Mapping[str, tuple]) -> LayoutMap:
    """A map that gives each path of `splits` its axes, and every other path of the plan none."""
    layouts = LayoutMap(mesh)
    for pattern, axes in patterns(plan.variables, {p: a for p, a in splits.items() if any(a)}):
        layouts[pattern] = axes
    plan.made = set(layouts)
    layouts._plan = plan
    return layouts


def patterns(paths: Iterable[str], splits: Mapping[str, tuple]) -> list[tuple[str, tuple]]:
    """Entries for the paths of `splits` that match none of the other `paths`: repeated modules make one entry."""
    groups: dict[tuple, dict[tuple | None, list[tuple[str, ...]]]] = {}
    for path in paths:
        form, numbers = template(path)
        groups.setdefault(form, {}).setdefault(splits.get(path), []).append(numbers)
    out = []
    for form, by_axes in groups.items():
        for axes, members in by_axes.items():
            if axes is None:
                continue
            if len(by_axes) == 1:
                out.append((filled(form, itertools.repeat(r"\d+")), axes))
                continue
            columns = [sorted(set(column), key=int) for column in zip(*members, strict=True)]
            if len(set(members)) == len(list(itertools.product(*columns))):
                one_of = [c[0] if len(c) == 1 else f"({'|'.join(c)})" for c in columns]
                out.append((filled(form, one_of), axes))
            else:
                out += [(filled(form, single), axes) for single in members]
    return out


def template(path: str) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """The path's words, None for a number, and the numbers."""
    words = path.split(".")
    numbers = tuple(w for w in words if w.isascii() and w.isdigit())
    return tuple(None if w.isascii() and w.isdigit() else w for w in words), numbers


def filled(form: tuple[str | None, ...], numbers: Iterable[str]) -> str:
    number = iter(numbers)
    return "/".join(next(number) if word is None else re.escape(word) for word in form)


def shown_notes(notes: Sequence[Note], variables: Mapping[str, Variable]) -> list[str]:
    """Lines of those with most elements, and what the others are together."""
    total = sum(math.prod(v.shape) for path, v in variables.items() if v.first == path)
    out = []
    for axis in dict.fromkeys(n.axis for n in notes):
        mine = [n for n in notes if n.axis == axis]
        most = sorted(mine, key=lambda n: -n.elements)[:_SHOWN]
        out += [f"  {n}" for n in mine if n in most]
        if len(mine) > len(most):
            out.append(f"  whole over {axis}: {len(mine) - len(most)} others, smaller")
        elements = sum(n.elements for n in mine)
        out.append(f"  whole over {axis}: {elements / max(total, 1):.1%} of {total} elements in all")
    return out


def noted(axis: str, reasons: Mapping[str, str], variables: Mapping[str, Variable]) -> tuple[Note, ...]:
    """One note for parameters that differ in the numbers of their paths alone."""
    groups: dict[tuple, list[tuple[str, ...]]] = {}
    for path, reason in reasons.items():
        form, numbers = template(path)
        groups.setdefault((form, variables[path].shape, reason), []).append(numbers)
    out = []
    for (form, shape, reason), members in groups.items():
        spans = []
        for column in zip(*members, strict=True):
            values = sorted(set(map(int, column)))
            spans.append(str(values[0]) if len(values) == 1 else f"[{values[0]}-{values[-1]}]")
        number = iter(spans)
        path = "/".join(next(number) if word is None else word for word in form)
        out.append(Note(axis, f"{path} {shape}", reason, len(members) * math.prod(shape)))
    return tuple(out)
