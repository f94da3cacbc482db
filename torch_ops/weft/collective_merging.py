"""Several collectives of a compiled program as one."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

_aten, _c10d = torch.ops.aten, torch.ops._c10d_functional
WAIT = _c10d.wait_tensor.default
GATHER = _c10d.all_gather_into_tensor.default
_REDUCE = _c10d.all_reduce.default
_COALESCED = {
    GATHER: _c10d.all_gather_into_tensor_coalesced.default,
    _c10d.reduce_scatter_tensor.default: _c10d.reduce_scatter_tensor_coalesced.default,
}
Bucket = tuple[Node, ...]


def goes_together(target: Any) -> bool:
    """Whether several of that kind may be one."""
    return target is _REDUCE or target in _COALESCED


@dataclasses.dataclass
class _Sums:
    """Tensors that are reduced in one buffer, of which each is a part then."""

    begun: Node
    lengths: list[int]
    parts: Node | None = None  # when they have come


def rearrange(graph: Graph, steps: list[Node | Bucket]) -> None:
    """Puts the nodes in that order, the collectives of each bucket as one in its place."""
    end = graph.output_node()
    sums: dict[Node, tuple[_Sums, int]] = {}  # of each wait for one
    with graph.inserting_before(end), _disable_current_modes():
        for step in steps:
            if isinstance(step, tuple) and len(step) > 1:
                sums.update(_merge(graph, step))
            elif isinstance(step, tuple):
                end.prepend(step[0])
            elif step in sums:
                _take(graph, step, *sums[step])
            else:
                end.prepend(step)
    for step in steps:
        for node in step if isinstance(step, tuple) and len(step) > 1 else ():
            graph.erase_node(node)


def _add(graph: Graph, target: Any, *args: Any) -> Node:
    node = graph.call_function(target, args)
    node.meta["val"] = target(*pytree.tree_map_only(Node, lambda n: n.meta["val"], args))
    return node


def _merge(graph: Graph, bucket: Bucket) -> dict[Node, tuple[_Sums, int]]:
    first = bucket[0]
    inputs: list[Any] = [node.args[0] for node in bucket]
    if first.target is _REDUCE:
        flat = [_add(graph, _aten.reshape.default, node, [-1]) for node in inputs]
        begun = _add(graph, _REDUCE, _add(graph, _aten.cat.default, flat), *first.args[1:])
        sums = _Sums(begun, [node.meta["val"].numel() for node in flat])
        return {wait: (sums, i) for i, node in enumerate(bucket) for wait in node.users}
    begun = _add(graph, _COALESCED[first.target], inputs, *first.args[1:])  # type: ignore[index]
    for i, node in enumerate(bucket):
        node.replace_all_uses_with(_add(graph, operator.getitem, begun, i))
    return {}


def _take(graph: Graph, wait: Node, sums: _Sums, i: int) -> None:
    if sums.parts is None:
        arrived = _add(graph, WAIT, sums.begun)
        sums.parts = _add(graph, _aten.split_with_sizes.default, arrived, sums.lengths)
    part = _add(graph, operator.getitem, sums.parts, i)
    wait.replace_all_uses_with(_add(graph, _aten.view.default, part, list(wait.meta["val"].shape)))
    graph.erase_node(wait)
