"""The number of a compiled program's code: what sharded tensors are given counts, what a rank does beside does not."""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, Node
from weft.traced import Traced
from weft.traced_code import code_of


class Program:
    """A graph, node by node; `sharded` as Dynamo notes it."""

    def __init__(self) -> None:
        self.graph = Graph()

    def given(self, name: str, sharded: bool = False) -> Node:
        return self._noted(self.graph.placeholder(name), sharded)

    def call(self, target: Callable[..., Any], *args: Any, sharded: bool = False) -> Node:
        return self._noted(self.graph.call_function(target, args), sharded)

    def code(self) -> tuple[int, list[int]]:
        self.graph.output(())
        module: Any = types.SimpleNamespace(graph=self.graph)
        return code_of(module)

    def _noted(self, node: Node, sharded: bool) -> Node:
        plain = torch.empty(2)
        node.meta["example_value"] = torch.Tensor._make_subclass(Traced, plain) if sharded else plain
        return node


def scaled(factor: Any, own: float = 1.0, target: Callable[..., Any] = torch.mul) -> tuple[int, list[int]]:
    """A sharded tensor times a factor; beside it a plain one, plus a number."""
    p = Program()
    mine, x = p.given("mine"), p.given("x", sharded=True)
    p.call(torch.add, mine, own)
    p.call(target, x, factor, sharded=True)
    return p.code()


def test_what_sharded_tensors_are_given_counts():
    assert scaled(2.0) == scaled(2.0)
    assert scaled(2.0) != scaled(3.0)
    assert scaled(2.0) != scaled(2.0, target=torch.div)
    assert scaled([1, 2]) != scaled([2, 1])
    assert scaled(slice(0, 2)) != scaled(slice(0, 3))


def test_what_a_rank_does_beside_does_not():
    assert scaled(2.0, own=1.0) == scaled(2.0, own=2.0)
    assert scaled(2.0)[1] == []
    assert scaled(torch.device("cuda", 0)) == scaled(torch.device("cuda", 1))


def test_addresses_do_not_count():
    assert scaled(object()) == scaled(object())


def of_plain(factor: float) -> tuple[int, list[int]]:
    p = Program()
    p.given("mine")
    w, x = p.given("w"), p.given("x", sharded=True)
    p.call(torch.mul, x, p.call(torch.mul, w, factor), sharded=True)
    return p.code()


def test_plain_operands_are_traced_back_to_what_they_are_made_of():
    assert of_plain(2.0)[1] == [1]
    assert of_plain(2.0) == of_plain(2.0)
    assert of_plain(2.0) != of_plain(3.0)
