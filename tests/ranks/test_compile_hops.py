"""Higher-order ops, which core compiles by itself where the program does not: flex attention, cond, map and loops."""

import pytest
import torch
import weft
from ranks.compiling import needed, recorded
from support.cases import check, meshes, on_worlds, run_cases, same
from torch.nn.attention import flex_attention as flex

pytestmark = needed

HEADS = (2, 4, 6, 4)  # batch, heads, tokens, width


def flex_with(mask, score):
    block_mask = mask and flex.create_block_mask(mask, None, None, 6, 6, device="cpu")
    return lambda q, k, bias: flex.flex_attention(
        q, k, k * 2, score_mod=score and score(bias), block_mask=block_mask, enable_gqa=True
    )


def along(bias):
    return lambda score, b, h, i, j: score + bias[h] * (i - j)


FLEX = {
    "plain": flex_with(None, None),
    "a mask": flex_with(lambda b, h, i, j: (i >= j) & (i - j < 3), None),
    "learned scores": flex_with(lambda b, h, i, j: i >= j, along),
}
OTHERS = {
    "cond": lambda x: torch.cond(x.sum() > 0, lambda x: x.sin() * x[0], lambda x: x.cos(), (x,)),
    "cond of a part": lambda x: torch.cond(x[0, 0] < 0, lambda x: x @ x.t(), lambda x: (x @ x.t()).cos(), (x * 2,)),
    "map": lambda x: torch._higher_order_ops.map(lambda row: row.sin() * row.sum(), x),
    "scan": lambda x: torch._higher_order_ops.scan(lambda s, row: (s + row, s * row), torch.zeros(4), x)[1],
    "associative scan": lambda x: torch._higher_order_ops.associative_scan(torch.add, x, 0, combine_mode="generic"),
    "while loop": lambda x: torch._higher_order_ops.while_loop(
        lambda x: x.abs().sum() < 100, lambda x: (x * 2,), (x.detach(),)
    )[0],
}


def outcome(function, inputs):
    inputs = [x.requires_grad_() for x in inputs]
    y = function(*inputs)
    if y.requires_grad:
        (y * y.detach().cos()).sum().backward()
    return [y, *(x.grad for x in inputs if x.grad is not None)]


def checked(function, inputs, layouts, mesh):
    expected = outcome(function, [x.clone() for x in inputs])
    for layout in layouts:
        for backend in (None, "aot_eager"):
            torch._dynamo.reset()
            sharded = [weft.distribute_tensor(x, axes, mesh) if axes else x.clone() for x, axes in layout(inputs)]
            got = outcome(torch.compile(function, backend=backend) if backend else function, sharded)
            assert len(got) == len(expected)
            for number, (a, b) in enumerate(zip(got, expected, strict=True)):
                same(a, b, f"{number}, {backend}")


def flexible(mesh, function):
    inputs = [torch.randn(HEADS), torch.randn(2, 2, 6, 4), torch.randn(4)]

    def split(dim, bias):
        axes = tuple("a" if d == dim else None for d in range(4))
        return lambda of: zip(of, (axes, axes, bias), strict=True)

    checked(function, inputs, [split(0, None), split(1, ("a",)), split(2, None)], mesh)


def others(mesh, function):
    layouts = [lambda of, axes=axes: [(of[0], axes)] for axes in (("a", None), (None, "a"))]
    checked(function, [torch.randn(5, 4)], layouts, mesh)


def flex_cases(world):
    flex._validate_device = lambda *_: None  # core takes no gradients of it on CPUs, of which its other ops do
    with recorded():
        return run_cases({n: lambda f=f: flexible(meshes(world)[0], f) for n, f in FLEX.items()})


def other_cases(world):
    with recorded():
        return run_cases({n: lambda f=f: others(meshes(world)[0], f) for n, f in OTHERS.items()})


flex_results = on_worlds(flex_cases, 3, timeout=300)  # one of them has no sequence of the batch, or no head
other_results = on_worlds(other_cases, 2, timeout=300)


@pytest.mark.parametrize("name", FLEX)
def test_flex_attention(flex_results, name):
    check(flex_results, name)


@pytest.mark.parametrize("name", OTHERS)
def test_others(other_results, name):
    check(other_results, name)
