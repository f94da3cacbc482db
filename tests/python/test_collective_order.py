"""The order in which a compiled program begins its collectives and waits for them."""

import operator

import pytest
import torch
import torch.distributed._functional_collectives
from torch.fx.experimental.proxy_tensor import make_fx
from weft import collective_order
from weft.collective_order import order_collectives

GROUP = "weft/1/a"
c10d, aten = torch.ops._c10d_functional, torch.ops.aten
PACKING = {operator.getitem, *(getattr(aten, n).default for n in ("reshape", "cat", "split_with_sizes", "view"))}


def gather(x):
    return c10d.wait_tensor(c10d.all_gather_into_tensor(x, 2, GROUP))


def reduce(x):
    return c10d.wait_tensor(c10d.all_reduce(x, "sum", GROUP))


def scatter(x):
    return c10d.wait_tensor(c10d.reduce_scatter_tensor(x, "sum", 2, GROUP))


def ordered(function, *shapes):
    """The program's ops in short, "gather 2" for one collective of two tensors, after its collectives are ordered."""
    module = make_fx(function, tracing_mode="fake")(*(torch.randn(s) for s in shapes))
    number = order_collectives(module)
    module.graph.lint()
    names = {"all_gather_into_tensor": "gather", "all_reduce": "reduce", "reduce_scatter_tensor": "scatter"}
    told = []
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target in PACKING:
            continue
        name, tensors = node.target._opname.replace("_coalesced", ""), node.args[0]
        if getattr(tensors, "target", None) is torch.ops.aten.cat.default:  # several in one buffer
            tensors = tensors.args[0]
        count = len(tensors) if isinstance(tensors, list) else 1
        told.append(f"{names[name]} {count}" if name in names else name)
    return told, number


def test_sums_that_are_results_are_one():
    def program(x, y):
        a = reduce(x * 2)
        return a, reduce(y * 3), reduce(x + 1)

    told, _ = ordered(program, (4,), (5,))
    assert told == ["mul", "mul", "add", "reduce 3", "wait_tensor"]


def test_what_follows_from_a_sum_alone_does_not_ask_for_it():
    def program(x, y):
        a = reduce(x * 2).unsqueeze(0) / 2
        return a, reduce(y * 3)

    told, _ = ordered(program, (4,), (5,))
    assert told == ["mul", "mul", "reduce 2", "wait_tensor", "unsqueeze", "div"]


def test_sum_that_is_needed_takes_those_before_it_along():
    def program(x):
        a, b = reduce(x * 2), reduce(x * 3)
        return b + x, a

    told, _ = ordered(program, (4,))
    assert told == ["mul", "mul", "reduce 2", "wait_tensor", "add"]


def test_sum_of_a_sum_waits():
    def program(x):
        return reduce(reduce(x) * 2)

    told, _ = ordered(program, (4,))
    assert told == ["reduce 1", "wait_tensor", "mul", "reduce 1", "wait_tensor"]


def test_kinds_are_not_mixed():
    def program(x, y):
        return reduce(x), reduce(y.double()), scatter(x), c10d.wait_tensor(c10d.all_reduce(x, "max", GROUP))

    told, _ = ordered(program, (4,), (4,))
    assert [t for t in told if t != "wait_tensor"] == ["_to_copy", "reduce 1", "reduce 1", "scatter 1", "reduce 1"]


def test_gathers_of_inputs_come_together_ahead_of_their_use():
    def program(x, v, w):
        return x @ gather(v) @ gather(w.t().contiguous()).t()

    told, _ = ordered(program, (3, 4), (2, 4), (4, 2))
    assert told[:4] == ["t", "clone", "gather 2", "wait_tensor"]


def test_next_bucket_is_on_its_way_while_one_is_used(monkeypatch):
    monkeypatch.setattr(collective_order, "_GATHERED", 2 * 4 * 4 * 4)  # two of them

    def program(x, *weights):
        for w in weights:
            x = x @ gather(w)
        return x

    told, _ = ordered(program, (4, 4), *[(2, 4)] * 6)
    expected = ["gather 2", "wait_tensor", "gather 2", "mm", "wait_tensor", "mm"]
    expected += ["wait_tensor", "gather 2", "mm", "wait_tensor", "mm", *["wait_tensor", "mm"] * 2]
    assert told == expected


def test_gather_of_what_is_computed_stays():
    def program(x, y):
        z = (x + y).exp()
        return gather(z).sum() + 1

    told, _ = ordered(program, (4,), (4,))
    assert told == ["add", "exp", "gather 1", "wait_tensor", "sum", "add"]


def test_full_bucket_begins_at_once(monkeypatch):
    monkeypatch.setattr(collective_order, "_FIRST", 2 * 4 * 4)

    def program(x):
        return reduce(x * 1), reduce(x * 2), reduce(x * 3)

    told, _ = ordered(program, (4,))
    assert told[:4] == ["mul", "mul", "reduce 2", "mul"]


def test_all_have_come_before_anything_is_written():
    def program(x, y):
        a = reduce(x)
        x.copy_(y)
        return a

    told, _ = ordered(program, (4,), (4,))
    assert told == ["reduce 1", "wait_tensor", "copy_"]


def test_ranks_that_differ_keep_the_programs_order(monkeypatch):
    monkeypatch.setattr(collective_order, "_all_same", lambda number: False)

    def program(x):
        return reduce(x * 1), reduce(x * 2)

    told, _ = ordered(program, (4,))
    assert told == ["mul", "reduce 1", "wait_tensor", "mul", "reduce 1", "wait_tensor"]


@pytest.mark.parametrize("function", [lambda x: x * 2, lambda x: c10d.wait_tensor(c10d.all_reduce(x, "sum", "mine"))])
def test_collectives_of_others_are_left_alone(function):
    assert ordered(function, (4,))[1] == 0


def test_number_tells_programs_apart():
    numbers = {
        ordered(f, (4,))[1]
        for f in (reduce, gather, scatter, lambda x: reduce(reduce(x)), lambda x: (reduce(x), reduce(x + 1)))
    }
    assert len(numbers) == 5
    assert 0 not in numbers
