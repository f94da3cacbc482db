"""Where the collectives of a compiled program begin and are waited for: several of one kind in one, each as late as it
can be, and the gathers of what the program is given ahead of their use.

What else the program computes keeps its order. Collectives are told by the names of their groups
(csrc/comm/wire/recorded_group.h); others stay where they are.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import _disable_current_modes

from .collective_merging import GATHER, WAIT, Bucket, goes_together, rearrange
from .traced_code import number_of
from .traced_draws import draws

_MIB = 1 << 20
# Bytes of one collective: the most that eager ones have (docs/design.md).
_FIRST, _REDUCED, _GATHERED = _MIB, 25 * _MIB, 4 * _MIB
_COMPARED = "the collectives of a compiled program"


def order_collectives(module: GraphModule) -> int:
    """Rearranges the graph of AOTAutograd; all ranks call it for the same program.

    Where the ranks would come to different orders, as what they do between collectives may differ, the collectives stay
    one by one in the program's order, which all ranks share.

    Returns:
        A number for the collectives that the program has then, the same on all ranks; 0: it has none.
    """
    graph = module.graph
    before = [node for node in graph.nodes if _is_collective(node)]
    if not before:
        return 0
    steps = _Schedule(graph, before).steps
    number = _number(before, [step for step in steps if isinstance(step, tuple)])
    if not _all_same(number):
        return _number(before, [(node,) for node in before])
    rearrange(graph, steps)
    module.recompile()
    return number


def _all_same(number: int) -> bool:
    with _disable_current_modes():
        return torch.ops.weft._all_same([number], _COMPARED)


def _is_collective(node: Node) -> bool:
    if getattr(node.target, "namespace", None) != "_c10d_functional" or node.target is WAIT:
        return False
    group = node.args[-1]
    ours = isinstance(group, str) and group.startswith("weft/")
    return ours and all(user.target is WAIT for user in node.users)


def _number(before: list[Node], buckets: list[Bucket]) -> int:
    # Without lengths: the parts of ranks may be of different ones.
    place = {node: i for i, node in enumerate(before)}
    told = [(str(b[0].target), _told(b[0]), str(b[0].meta["val"].dtype), [place[node] for node in b]) for b in buckets]
    return number_of(told) | 1


def _told(node: Node) -> str:
    return str(node.args[1:] if goes_together(node.target) else node.args[-1])


def _bytes(node: Node) -> int:
    """What all ranks' parts of a gather take, or a sum."""
    value = node.meta["val"] if node.target is GATHER else node.args[0].meta["val"]  # type: ignore[union-attr]
    return value.numel() * value.element_size()


def _kind(node: Node) -> Any:
    """Those of one kind go together; by itself what has none."""
    if not goes_together(node.target):
        return node
    value = node.meta["val"]
    return (node.target, node.args[1:], value.dtype, value.device)


def _writes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


class _Schedule:
    """`steps`: the nodes in their new order, with buckets in the places of the collectives in them."""

    def __init__(self, graph: Graph, collectives: list[Node]) -> None:
        self.steps: list[Node | Bucket] = []
        self._placed: set[Node] = set()
        self._kinds = {node: _kind(node) for node in collectives}
        self._ahead = {node for node in collectives if node.target is GATHER and _is_of_one_input(node)}
        self._pending = [node for node in collectives if node in self._ahead]
        self._begun: set[Any] = set()  # kinds
        self._on_their_way: dict[Node, Bucket] = {}
        self._last = _last_of_all(graph, self._kinds)
        for node in graph.nodes:
            self._visit(node)
        self._finish()
        for node in graph.nodes:
            self._place(node)

    def _visit(self, node: Node) -> None:
        if node in self._placed or node in self._ahead or node in self._last:
            return
        if node in self._kinds:
            self._place_inputs(node)
            self._pending.append(node)
            self._begin_if_full(self._kinds[node])
        elif node.target is not WAIT or node.args[0] not in self._kinds:
            if _writes(node):
                self._finish()
            self._place(node)

    def _begin_if_full(self, kind: Any) -> None:
        alike = [node for node in self._pending if self._kinds[node] == kind]
        if isinstance(kind, Node) or sum(map(_bytes, alike)) >= self._limit(kind):
            self._begin(alike[0])

    def _limit(self, kind: Any) -> int:
        if isinstance(kind, tuple) and kind[0] is GATHER:
            return _GATHERED
        return _REDUCED if kind in self._begun else _FIRST

    def _place(self, node: Node) -> None:
        if node.op in ("placeholder", "output") or node in self._placed:
            return
        if node in self._kinds:
            self._begin(node)
            return
        self._place_inputs(node)
        self._placed.add(node)
        self.steps.append(node)
        if node.target is WAIT and node.args[0] in self._on_their_way:
            self._begin_next(node.args[0])

    def _place_inputs(self, node: Node) -> None:
        for needed in node.all_input_nodes:
            self._place(needed)

    def _begin(self, first: Node) -> None:
        """With those of its kind that may begin, too."""
        kind, taken = self._kinds[first], _bytes(first)
        limit, bucket = self._limit(kind), [first]
        for node in self._pending:
            if node is not first and self._kinds[node] == kind and taken + _bytes(node) <= limit:
                bucket.append(node)
                taken += _bytes(node)
        self._begun.add(kind)
        self._pending = [node for node in self._pending if node not in bucket]
        for node in bucket:
            self._place_inputs(node)
        self._placed.update(bucket)
        self.steps.append(tuple(bucket))
        if first in self._ahead:
            self._on_their_way.update(dict.fromkeys(bucket, tuple(bucket)))

    def _begin_next(self, come: Any) -> None:
        """While one bucket of gathers is used, the next one is on its way."""
        kind = self._kinds[come]
        for node in self._on_their_way[come]:
            del self._on_their_way[node]
        following = [node for node in self._pending if node in self._ahead and self._kinds[node] == kind]
        if following:
            self._begin(following[0])

    def _finish(self) -> None:
        while self._pending:
            self._begin(self._pending[0])
        for step in list(self.steps):
            for node in step if isinstance(step, tuple) else ():
                for wait in node.users:
                    self._place(wait)


def _is_of_one_input(node: Node) -> bool:
    """Whether it needs one input of the program alone, and draws and awaits nothing."""
    inputs, seen, todo = set(), {node}, [node]
    while todo:
        for needed in todo.pop().all_input_nodes:
            if needed in seen:
                continue
            seen.add(needed)
            if needed.op == "placeholder":
                inputs.add(needed)
            elif needed.target is WAIT or draws(needed) or _writes(needed):
                return False
            todo.append(needed)
    return len(inputs) == 1


def _last_of_all(graph: Graph, collectives: Container[Node]) -> set[Node]:
    """Waits, and what follows from one alone, that nothing but the results is made of."""
    last: set[Node] = set()
    for node in reversed(graph.nodes):
        kept = node.op == "call_function" and len(node.all_input_nodes) == 1 and not (_writes(node) or draws(node))
        if kept and all(user.op == "output" or user in last for user in node.users):
            origin = node
            while origin.target is not WAIT and len(origin.all_input_nodes) == 1:
                origin = origin.all_input_nodes[0]
            if origin.target is WAIT and origin.args[0] in collectives:
                last.add(node)
    return last
