"""What each variable of a module got, and what looks odd about it."""

from __future__ import annotations

import json
from types import NoneType
from typing import Any, NamedTuple

import torch

from . import report_table
from .arguments import needed
from .layout_map import LayoutMap
from .maps import map_of
from .mesh import DeviceMesh
from .slots import Slot, module_type, slots_of
from .strings import checked


class ReportRow(NamedTuple):
    """One variable."""

    path: str
    shape: tuple[int, ...]
    pattern: str | None  # the entry that matched
    layout: str
    bytes: int
    bytes_per_rank: int  # of the rank that holds most


class ReportNote(NamedTuple):
    """Something a user would want to know."""

    kind: str  # unused_rule, unmatched_variable, near_miss, ambiguous, invalid, uneven
    subject: str
    text: str


class Report:
    """Rows and notes. Prints as a table of a row for each pattern and layout, with rich in colours."""

    def __init__(self, text: str, data: dict[str, Any]) -> None:
        self.details: str = text  # a table of a row for each variable
        self.mesh: str = data["mesh"]
        self.bytes: int = data["bytes"]
        self.bytes_per_rank: int = data["bytes_per_rank"]
        self.rows = [
            ReportRow(r["path"], tuple(r["shape"]), r["pattern"], r["layout"], r["bytes"], r["bytes_per_rank"])
            for r in data["rows"]
        ]
        self.notes = [ReportNote(n["kind"], n["subject"], n["text"]) for n in data["notes"]]

    def __str__(self) -> str:
        return report_table.plain(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        return report_table.coloured(self)


def report(module: torch.nn.Module, layout_map: LayoutMap | None = None) -> Report:
    """What each parameter and buffer of the module got, or would get if it is not distributed yet.

    Args:
        module: each of its variables is one row; tied ones appear once.
        layout_map: default: the one the module was distributed by, else the active one.

    Raises:
        ValueError: there is no map at all.
    """
    needed(module, torch.nn.Module, "report: module")
    layouts = map_of(module, needed(layout_map, (LayoutMap, NoneType), "report: layout_map"))
    variables: dict[int, Slot] = {}
    for slot in slots_of(module):
        variables.setdefault(id(slot.tensor), slot)
    if layouts is None:
        layouts = LayoutMap(_mesh_of([v.tensor for v in variables.values()]))
    shapes: list[int] = []
    for v in variables.values():
        shapes += [v.tensor.dim(), *v.tensor.shape]
    is_sharded, layout_of = torch.ops.weft.is_sharded, torch.ops.weft.layout_of
    text, data = torch.ops.weft.report(
        layouts._object,
        [checked(v.path, "report: path") for v in variables.values()],
        shapes,
        [v.tensor.element_size() for v in variables.values()],
        [module_type(v.owner) for v in variables.values()],
        [layout_of(v.tensor) if is_sharded(v.tensor) else None for v in variables.values()],
    )
    return Report(text, json.loads(data))


def _mesh_of(tensors: list[torch.Tensor]) -> DeviceMesh:
    for t in tensors:
        if torch.ops.weft.is_sharded(t):
            return DeviceMesh._wrap(torch.ops.weft.layout_of(t).mesh())
    raise ValueError("[W035] report: the module is not distributed; pass the layout map to see what it would do")
