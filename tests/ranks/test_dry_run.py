"""weft.plan, which one process makes without memory, beside what four processes send."""

import functools

import pytest
import torch
import weft
from ranks.models import PLANS, build

SHAPE = {"data": 2, "model": 2}


def sent(trace):
    return [(row.kind, row.axis, row.op, row.path, row.bytes) for row in trace.rows]


def make_net(width=7):
    """Parts of no dimension are even."""
    return torch.nn.Sequential(torch.nn.Linear(5, width), torch.nn.GELU(), torch.nn.Linear(width, 3))


NET = {"0/weight": ("model", None), "0/bias": ("model",), "2/weight": (None, "model")}


def train(make_model, layouts, batch, optimizer):
    """The real program of which `weft.plan` tells: collectives of the second step."""
    mesh = weft.DeviceMesh(tuple(SHAPE.values()), tuple(SHAPE))
    model = weft.distribute_module(make_model(), weft.LayoutMap(mesh, layouts))
    made = optimizer(model.parameters())
    for _ in range(2):
        made.zero_grad()
        with weft.trace(model) as trace:
            inputs = weft.shard_batch(batch, mesh, "data")
            out = model(**inputs) if isinstance(inputs, dict) else model(inputs)
            (out.loss if hasattr(out, "loss") else out.square().mean()).backward()
            made.step()
    return sent(trace)


def train_named(name):
    return train(lambda: build(name)[0], PLANS[name], build(name)[1], torch.optim.AdamW)


def train_net():
    torch.manual_seed(0)
    return train(make_net, NET, torch.randn(9, 5), functools.partial(torch.optim.SGD, lr=0.1))


def test_uneven_parts_send_what_the_real_program_sends(ranks4):
    batch = torch.randn(9, 5)
    optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    for rank, rows in enumerate(ranks4(train_net)):
        planned = weft.plan(make_net, SHAPE, NET, batch, optimizer=optimizer, rank=rank)
        assert sent(planned.trace) == rows
        assert rows


@pytest.mark.parametrize("name", ["llama", "t5", "resnet", "mixtral"])
def test_models_send_what_the_real_program_sends(ranks4, name):
    batch = build(name)[1]
    for rank, rows in enumerate(ranks4(train_named, name)):
        planned = weft.plan(lambda: build(name)[0], SHAPE, PLANS[name], batch, optimizer=torch.optim.AdamW, rank=rank)
        assert sent(planned.trace) == rows
        assert rows
        assert sum(planned.kinds.values()) == planned.peak


def train_and_plan(plans):
    """What two steps give, where the first rank alone plans between them."""
    torch.manual_seed(0)
    mesh = weft.DeviceMesh(tuple(SHAPE.values()), tuple(SHAPE))
    model = weft.distribute_module(make_net(), weft.LayoutMap(mesh, NET))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        inputs = weft.shard_batch(torch.randn(9, 5), mesh, "data")
        torch.dropout(model(inputs), 0.5, train=True).square().mean().backward()
        if plans and weft.rank() == 0:
            weft.plan(make_net, SHAPE, NET, torch.ones(9, 5), optimizer=torch.optim.AdamW)
        optimizer.step()
    return [weft.full_tensor(p.detach()) for p in model.parameters()]


def plan_on_one_rank():
    pairs = zip(train_and_plan(plans=True), train_and_plan(plans=False), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_one_rank_may_plan_alone(ranks4):
    assert all(ranks4(plan_on_one_rank))
