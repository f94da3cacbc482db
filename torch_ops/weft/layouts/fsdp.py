"""Every parameter split over one axis, the batch's: what each rank keeps is its part alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..layout_map import LayoutMap
from ..mesh import DeviceMesh
from .plan import Note, Plan, made_map, parameters_of, parts_along, split_along


def fsdp(
    model: torch.nn.Module, mesh: DeviceMesh, axis: str | Sequence[str], *, smallest: int = 1024
) -> LayoutMap:
    """Layouts that split every parameter over `axis`, along which the batch is split too (FSDP, ZeRO 3).

    An op gathers the weight it uses, where that is less to send than its activations are; gradients are reduced to the
    parts, and the optimizer's state is split like them. Of each parameter the largest dimension that divides evenly is
    split, else the largest that has a row for every part.

        layouts = weft.layouts.fsdp(model, mesh, "data")
        layouts = weft.layouts.fsdp(model, mesh, "data") | weft.layouts.megatron(model, mesh, "model")

    Args:
        model: any module; on the meta device too. Nothing of it is changed.
        mesh: the mesh.
        axis: a mesh axis, or several (major first).
        smallest: parameters of fewer elements stay whole: to gather one costs a collective's latency and saves its
            4 KiB (16 with gradient and Adam's state). Buffers stay whole too: ops write them.

    Returns:
        A `LayoutMap` whose entries are the module's paths, those of repeated modules in one. What is set afterwards
        replaces an entry of the same text, and a whole path wins over an entry that it matches.

    Raises:
        ValueError: no module, no such axis, or a lazy parameter without a shape.
    """
    axes, parts = parts_along(mesh, axis, "fsdp")
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 0:
        raise ValueError(f"layouts.fsdp: smallest must be a number of elements, not {smallest!r}")
    variables, tensors = parameters_of(model, "fsdp")
    splits, whole = {}, set()
    for path, v in variables.items():
        dim = split_dim(v.shape, parts) if tensors[path].numel() >= smallest else None
        if dim is None:
            whole.add(v.first)
        else:
            splits[path] = split_along(v.shape, dim, axes)
    notes = ()
    if whole:
        elements = sum(tensors[p].numel() for p in whole)
        subject = f"{len(whole)} small parameters of {elements} elements together"
        reason = f"fewer than {smallest} elements, or than {parts} rows"
        notes = (Note(", ".join(axes), subject, reason),)
    return made_map(mesh, Plan(variables, frozenset(axes), notes), splits)


def split_dim(shape: Sequence[int], parts: int) -> int | None:
    """The largest dimension that divides evenly, else the largest that has a row for every part, else none."""
    dims = sorted(range(len(shape)), key=lambda d: -shape[d])
    even = [d for d in dims if shape[d] % parts == 0 and shape[d] > 0]
    return next(iter([*even, *(d for d in dims if shape[d] >= parts)]), None)
