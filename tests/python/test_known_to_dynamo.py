"""Compiled code that sees no sharded tensors compiles as without Weft; code that asks which are sharded is told."""

import pytest
import torch
import weft
from support.versions import COMPILED_GRAPHS
from torch import nn

X = torch.linspace(-1, 1, 30).view(6, 5)


@pytest.fixture
def sharded():
    weft.initialize()
    return weft.distribute_tensor(X, ("a", None), weft.DeviceMesh((1,), ("a",)))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(6, 5))

    def forward(self, x):
        self.total = self.total * 0.5 + x
        return self.total + 1


def one_graph(program, *args):
    torch._dynamo.reset()
    return torch.compile(program, backend="aot_eager", fullgraph=True)(*args)


def test_plain_tensors_are_read():
    weft.initialize()
    assert one_graph(lambda x: x.numpy().max(), X) == 1


def test_plain_modules_are_assigned_to(sharded):
    module = Counts()
    for _ in range(2):
        out = one_graph(module, X)
    assert torch.equal(out, X * 1.5 + 1) and torch.equal(module.total, X * 1.5)


def test_modules_are_made():
    weft.initialize()
    linear = nn.Linear(5, 5)
    assert torch.equal(one_graph(lambda x: nn.Sequential(linear, nn.ReLU())(x), X), linear(X).relu())


def test_backward_within_a_compiled_step():
    weft.initialize()
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU())

    def step(x):
        loss = module(x).square().sum()
        loss.backward()
        return loss

    torch._dynamo.reset()
    with torch._dynamo.config.patch(compiled_autograd=True):
        assert torch.equal(torch.compile(step, backend="aot_eager")(X), module(X).square().sum())


@pytest.mark.skipif(not COMPILED_GRAPHS, reason="torch.compile records sharded programs from torch 2.15 on")
def test_what_is_sharded_is_a_constant(sharded):
    def program(x):
        return x * 2 if weft.is_sharded(x) else x + 1

    torch._dynamo.reset()
    run = torch.compile(program, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(weft.full_tensor(run(sharded)), X * 2)
        assert torch.equal(run(X), X + 1)


@pytest.mark.skipif(not COMPILED_GRAPHS, reason="torch.compile records sharded programs from torch 2.15 on")
def test_sharded_buffers_are_assigned_to(sharded):
    module = Counts()
    weft.distribute_module(module, {"total": ("a", None)}, mesh=weft.DeviceMesh((1,), ("a",)))
    for _ in range(2):
        out = one_graph(module, sharded)
    assert torch.equal(weft.full_tensor(out), X * 1.5 + 1)
    assert weft.layout_of(module.total) == weft.layout_of(sharded)
