"""What a compiled program is, told by numbers that all ranks have alike: its code on sharded tensors, and the plain
values that meet them.

What it does with plain tensors alone is each rank's own business, as op by op.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from .known_to_dynamo import left_alone
from .traced import Traced


def tell(output_graph: ModuleType, has_sharded: Callable[[], bool]) -> None:
    """Each program that Dynamo has compiled tells the engine of itself before it runs."""
    cls = output_graph.OutputGraph
    original = cls._call_user_compiler

    @functools.wraps(original)
    def call_user_compiler(self: Any, module: GraphModule, examples: Any) -> Any:
        if not has_sharded():
            return original(self, module, examples)
        code, places = code_of(module)  # before a backend changes it
        return _telling(original(self, module, examples), code, places)

    cls._call_user_compiler = call_user_compiler


def _telling(program: Callable[..., Any], code: int, places: list[int]) -> Callable[..., Any]:
    begin = torch.ops.weft._begin.default

    @left_alone
    @functools.wraps(program)
    def run(*given: Any) -> Any:
        plain = [given[i] for i in places]
        tensors = [value for value in plain if isinstance(value, torch.Tensor)]
        begin(code, tensors, [value for value in plain if isinstance(value, (int, float))])
        return program(*given)

    return run


def code_of(module: GraphModule) -> tuple[int, list[int]]:
    """A number for what the graph does with sharded tensors, and for how it makes the plain values that meet them.

    Returns:
        The number, and the places among the inputs of plain values that meet sharded tensors.
    """
    met = _met(module)
    text = _Text(module, (node for node in module.graph.nodes if node in met and node.op != "placeholder"))
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    places = [i for i, node in enumerate(inputs) if node in met and not _is_sharded(node)]
    return text.number(), places


def number_of(told: Any) -> int:
    """A hash of the value's text, of 56 bits: the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:7], "big")


def _is_sharded(node: Node) -> bool:
    return any(type(leaf) is Traced for leaf in pytree.tree_leaves(node.meta.get("example_value")))


def _met(module: GraphModule) -> set[Node]:
    """What is sharded, what is done with that, and what the plain operands of it are made of."""
    met: set[Node] = set()

    def add(nodes: Iterable[Node]) -> None:
        todo = list(nodes)
        while todo:
            node = todo.pop()
            if node not in met:
                met.add(node)
                todo.extend(needed for needed in node.all_input_nodes if not _is_sharded(needed))

    for node in module.graph.nodes:
        if node.op != "output" and (_is_sharded(node) or any(map(_is_sharded, node.all_input_nodes))):
            add([node])
    return met


class _Text:
    """Nodes as texts without names, addresses and devices."""

    def __init__(self, module: GraphModule, nodes: Iterable[Node]) -> None:
        self._module = module
        self._places: dict[Node, int] = {}
        self._parts = [
            (self._place(node), node.op, self._target(node), self._told(node.args), self._told(node.kwargs))
            for node in nodes
        ]

    def number(self) -> int:
        return number_of(self._parts)

    def _place(self, node: Node) -> int:
        return self._places.setdefault(node, len(self._places))

    def _target(self, node: Node) -> Any:
        inner = getattr(self._module, str(node.target), None) if node.op == "get_attr" else None
        if isinstance(inner, GraphModule):
            return _Text(inner, inner.graph.nodes).number()
        return _name(node.target)

    def _told(self, value: Any) -> Any:
        if isinstance(value, Node):
            return ("node", self._place(value))
        if isinstance(value, (list, tuple)):
            return [self._told(item) for item in value]
        if isinstance(value, dict):
            return [(key, self._told(item)) for key, item in value.items()]
        if isinstance(value, slice):
            return ("slice", self._told([value.start, value.stop, value.step]))
        if value is None or isinstance(value, (bool, int, float, complex, str, torch.dtype, torch.memory_format)):
            return repr(value)
        return type(value).__qualname__


def _name(target: Any) -> str:
    if isinstance(target, str):
        return target
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None) or type(target).__qualname__
    module = getattr(target, "__module__", None)
    # The program's own module has another name in a process that it has started.
    return name if module in ("__main__", "__mp_main__") else f"{module}.{name}"
