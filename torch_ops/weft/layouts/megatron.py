"""Columns and rows of linear layers, heads and the vocabulary split over one axis: tensor parallelism."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..layout_map import LayoutMap
from ..mesh import DeviceMesh
from .plan import Plan, made_map, noted, parameters_of, parts_along, split_along
from .structure import Finder, Group, Linear, embeddings_of, head_size


def megatron(model: torch.nn.Module, mesh: DeviceMesh, axis: str | Sequence[str]) -> LayoutMap:
    """Layouts that split each layer's matrices over `axis` (Megatron's scheme, tensor parallelism).

    Pairs of linear layers are split by columns and rows: a feed-forward by its inner features, gates included, an
    attention by its heads, so that each costs one all-reduce forward and one backward. Keys and values whose heads do
    not divide stay whole beside queries that do; queries, keys and values in one matrix are split as that matrix is,
    and gathered where the model takes them apart. Experts are split inside; embeddings of the vocabulary, and a head
    that is as wide, by its words. All else stays whole.

    What belongs together is found by where linear layers stand in the modules and by their sizes, not by names, in
    modules of torch.nn, transformers and torchvision. A guess that is wrong costs speed, never the result.

        layouts = weft.layouts.megatron(model, mesh, "model")
        print(layouts)                      # what was found, and what stays whole and why

    Args:
        model: any module; on the meta device too. Nothing of it is changed.
        mesh: the mesh.
        axis: a mesh axis, or several (major first).

    Returns:
        A `LayoutMap` whose entries are the module's paths, those of repeated modules in one. What is set afterwards
        replaces an entry of the same text, and a whole path wins over an entry that it matches.

    Raises:
        ValueError: no module, no such axis, or a lazy parameter without a shape.
    """
    axes, parts = parts_along(mesh, axis, "layouts.megatron")
    variables = parameters_of(model, "layouts.megatron")
    dims: dict[str, int] = {}  # by the parameter's first path, which of its dimensions is split
    reasons: dict[str, str] = {}
    finder = Finder(model)

    def split(path: str | None, dim: int) -> None:
        if path is not None:
            dims.setdefault(variables[path].first, dim)

    def split_outputs(x: Linear) -> None:
        split(x.weight, x.out_dim)
        if x.bias is not None:
            split(x.bias, len(variables[x.bias].shape) - 1)

    for group in finder.groups:
        columns, problem = columns_to_split(group, finder, parts)
        for x in (*group.columns, group.row):
            if problem:
                reasons[x.weight] = problem
            elif x is group.row:
                split(x.weight, x.in_dim)
            elif x in columns:
                split_outputs(x)
            else:
                reasons[x.weight] = f"{x.outputs // heads_of(group, finder)} heads do not divide by {parts}"
    words = len(finder.vocabulary) if finder.vocabulary is not None else 0
    for path, table in embeddings_of(model):
        if len(table) == words >= parts:
            split(path, 0)
    for x in finder.linears:
        if finder.is_head(x) and words >= parts:
            split_outputs(x)
    for path, v in variables.items():
        if len(v.shape) > 1 and v.first == path and path not in dims:
            reasons.setdefault(path, "not recognised")
    splits = {p: split_along(v.shape, dims[v.first], axes) for p, v in variables.items() if v.first in dims}
    reasons = {p: r for p, r in reasons.items() if variables[p].first == p and p not in dims}
    return made_map(mesh, Plan(variables, notes=noted(", ".join(axes), reasons, variables)), splits)


def columns_to_split(group: Group, finder: Finder, parts: int) -> tuple[Sequence[Linear], str]:
    """Those of the group's columns whose outputs can be split, or why nothing of the group can."""
    width = group.row.inputs
    if not group.attention:
        return group.columns, "" if width >= parts else f"{width} features are fewer than {parts} parts"
    size = heads_of(group, finder)
    if width // size % parts:
        return (), f"{width // size} heads do not divide by {parts}"
    return [x for x in group.columns if x.outputs % (size * parts) == 0 or x.outputs > width], ""


def heads_of(group: Group, finder: Finder) -> int:
    """Features of one head; 1 where nothing tells."""
    owners = {x.owner.rpartition(".")[0] for x in (*group.columns, group.row)} | {x.owner for x in group.columns}
    modules = [finder.modules[path] for path in (group.scope, *sorted(owners))]
    return head_size(modules, group.row.inputs) or head_size([finder.modules[""]], group.row.inputs) or 1
