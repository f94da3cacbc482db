"""`LayoutMap | LayoutMap`: a variable that both name gets the axes of both."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..layout_map import LayoutMap
from ..strings import shown
from .plan import Plan, Variable, made_map

_PATH = re.compile(r"[\w./-]+")


def union(left: LayoutMap, right: LayoutMap) -> LayoutMap:
    """See `LayoutMap.__or__`."""
    if left.device_mesh != right.device_mesh:
        raise ValueError(f"[W031] LayoutMap |: one map is on {left.device_mesh}, the other on {right.device_mesh}")
    plan = _joined(left, right)
    if not plan.variables:
        return _by_pattern(left, right)
    used: tuple[set[str], set[str]] = set(), set()
    tied: dict[str, list[str]] = {}
    for path, v in plan.variables.items():
        tied.setdefault(v.first, []).append(path)
    splits: dict[str, tuple] = {}
    for paths in tied.values():
        found = [_found(m, paths, plan.variables, u) for m, u in zip((left, right), used, strict=True)]
        axes = _axes_of_both(paths[0], found[0], found[1], plan.inner)
        splits.update(dict.fromkeys(paths, axes))
    layouts = made_map(left.device_mesh, plan, splits)
    others = [_without(m, u) for m, u in zip((left, right), used, strict=True)]
    for pattern, axes in _by_pattern(*others).rules():
        layouts[pattern] = axes
    return layouts


def _without(layouts: LayoutMap, used: set[str]) -> LayoutMap:
    """A user's entries for other variables than those that are known."""
    made = layouts._plan.made if layouts._plan is not None else set()
    rest = {p: axes for p, axes in layouts.rules() if p not in used and p not in made}
    return LayoutMap(layouts.device_mesh, rest)


def _joined(left: LayoutMap, right: LayoutMap) -> Plan:
    plans = [p for p in (left._plan, right._plan) if p is not None]
    variables: dict[str, Variable] = {}
    for p in plans:
        for path, v in p.variables.items():
            if variables.setdefault(path, v).shape != v.shape:
                raise ValueError(
                    f"[W049] LayoutMap |: {shown(path)} is {variables[path].shape} in one model and {v.shape} in the "
                    "other; make both maps for the same model"
                )
    inner = frozenset[str]().union(*(p.inner for p in plans))
    return Plan(variables, inner, tuple(dict.fromkeys(n for p in plans for n in p.notes)))


def _found(layouts: LayoutMap, paths: Iterable[str], variables: dict[str, Variable], used: set[str]) -> tuple:
    """What a map says of a variable; of several names that are tied the first that it splits counts."""
    axes: tuple = ()
    for path in paths:
        match = layouts.lookup(path, variables[path].module_type)
        if match is None:
            continue
        used.add(match.pattern)
        named = layouts.layout_for(path, variables[path].shape, variables[path].module_type).axes
        axes = axes if any(axes) else named
    return axes or (None,) * len(variables[next(iter(paths))].shape)


def _by_pattern(left: LayoutMap, right: LayoutMap) -> LayoutMap:
    """Where no map knows the variables: entries of the same text, and paths that a pattern of the other map matches."""
    layouts = LayoutMap(left.device_mesh)
    seen: set[str] = set()
    for one, other in ((left, right), (right, left)):
        named = dict(other.rules())
        for pattern, axes in one.rules():
            is_path = _PATH.fullmatch(pattern) is not None
            text = pattern.replace(".", "/") if is_path else pattern  # a path has two forms
            if text in seen:
                continue
            seen.add(text)
            match = other.lookup(pattern) if is_path and pattern not in named else None
            theirs = named.get(pattern, match.axes if match else (None,) * len(axes))
            both = (axes, theirs) if one is left else (theirs, axes)
            layouts[pattern] = _axes_of_both(pattern, *both, frozenset())
    return layouts


def _axes_of_both(path: str, left: tuple, right: tuple, inner: frozenset[str]) -> tuple:
    """The axes of both for each dimension.

    Raises:
        ValueError: naming the path and both: the numbers of dimensions differ, or an axis splits two dimensions.
    """
    problem = "" if len(left) == len(right) else "their numbers of dimensions differ"
    merged: list[str | tuple[str, ...] | None] = []
    dims: dict[str, int] = {}
    for d, (mine, theirs) in enumerate(zip(left, right, strict=False)):
        mine, theirs = _names(mine), _names(theirs)
        if [a for a in mine if a in theirs] != [a for a in theirs if a in mine]:
            problem = f"the axes of dimension {d} are in another order"
        names = sorted(dict.fromkeys((*mine, *theirs)), key=lambda a: a in inner)
        for a in names:
            if dims.setdefault(a, d) != d:
                problem = f"axis {a!r} splits dimension {dims[a]} in one and {d} in the other"
        merged.append(None if not names else names[0] if len(names) == 1 else tuple(names))
    if problem:
        raise ValueError(
            f"[W049] LayoutMap |: {shown(path)} is {left} in the first map and {right} in the second: {problem}; "
            "change one of them, or set the layout after combining the maps without it"
        )
    return tuple(merged)


def _names(axes: str | tuple | None) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else axes or ()
