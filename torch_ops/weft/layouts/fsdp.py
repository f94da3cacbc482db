"""Every parameter split over one axis, the batch's: what each rank keeps is its part alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from ..layout_map import LayoutMap
from ..mesh import DeviceMesh
from ..strings import shown
from .plan import Note, Plan, made_map, parameters_of, parts_along, split_along


def fsdp(model: torch.nn.Module, mesh: DeviceMesh, axis: str | Sequence[str], *, whole: float = 0.01) -> LayoutMap:
    """Layouts that split every parameter over `axis`, along which the batch is split too (FSDP, ZeRO 3).

    An op gathers the weight it uses, where that is less to send than its activations are; gradients are reduced to the
    parts, and the optimizer's state is split like them. Of each parameter the largest dimension that divides evenly is
    split, else the largest that has a row for every part. Buffers stay whole: ops write them.

        layouts = weft.layouts.fsdp(model, mesh, "data")
        layouts = weft.layouts.fsdp(model, mesh, "data") | weft.layouts.megatron(model, mesh, "model")

    Args:
        model: any module; on the meta device too. Nothing of it is changed.
        mesh: the mesh.
        axis: a mesh axis, or several (major first).
        whole: the smallest parameters stay whole as long as they add no more than this share to what a rank holds: to
            gather a norm or a bias costs a collective, and saves next to nothing. 0: all are split.

    Returns:
        A `LayoutMap` whose entries are the module's paths, those of repeated modules in one. What is set afterwards
        replaces an entry of the same text, and a whole path wins over an entry that it matches.

    Raises:
        ValueError: no module, no such axis, a lazy parameter without a shape, or a share that is none.
    """
    axes, parts = parts_along(mesh, axis, "layouts.fsdp")
    if isinstance(whole, bool) or not isinstance(whole, (int, float)) or not 0 <= whole <= 1:
        raise ValueError(f"[W039] layouts.fsdp: whole must be a share from 0 to 1, not {shown(whole)}")
    variables = parameters_of(model, "layouts.fsdp")
    sizes = {path: math.prod(v.shape) for path, v in variables.items() if v.first == path}
    dims = {path: split_dim(variables[path].shape, parts) for path in sizes}
    smallest = smallest_of(sizes, whole * sum(sizes.values()) / parts)
    kept = {path: size for path, size in sizes.items() if dims[path] is None or size < smallest}
    splits = {p: split_along(v.shape, dims[v.first], axes) for p, v in variables.items() if v.first not in kept}
    notes: tuple[Note, ...] = ()
    if kept:
        subject = f"{len(kept)} of {len(sizes)} parameters"
        reason = f"fewer than {smallest} elements, or than {parts} rows"
        notes = (Note(", ".join(axes), subject, reason, sum(kept.values())),)
    return made_map(mesh, Plan(variables, frozenset(axes), notes), splits)


def smallest_of(sizes: Mapping[str, int], budget: float) -> int:
    """The size from which on parameters are split, so that all smaller ones have at most `budget` elements."""
    kept = 0
    for size, count in sorted(Counter(sizes.values()).items()):
        kept += size * count
        if kept > budget:
            return size
    return 0


def split_dim(shape: Sequence[int], parts: int) -> int | None:
    """The largest dimension that divides evenly, else the largest that has a row for every part, else none."""
    dims = sorted(range(len(shape)), key=lambda d: -shape[d])
    even = [d for d in dims if shape[d] % parts == 0 and shape[d] > 0]
    return next(iter([*even, *(d for d in dims if shape[d] >= parts)]), None)
