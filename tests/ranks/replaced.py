"""A model whose variables are replaced, plain and sharded, and what is compared then."""

import torch
import torch.nn.utils.prune
import weft
from support.cases import same, whole
from torch import nn

LAYOUTS = {
    "0/weight": ("a", None),
    "0/bias": ("a",),
    "2/weight": (None, "a"),
    "3/weight": ("a",),
    "3/running_mean": ("a",),
}


def net(mesh=None, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.BatchNorm1d(4)).double()
    if mesh is not None:
        weft.distribute_module(model, LAYOUTS, mesh=mesh)
    return model


def numbers(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def train(model, optimizer=None, steps=3):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        model(numbers(6, model[0].weight.shape[1], seed=step)).sin().sum().backward()
        optimizer.step()
    return model


def train_load_and_train(model):
    """Loads a checkpoint of plain values, the biases changed, between two trainings."""
    train(model)
    keys = list(model.state_dict())
    model.load_state_dict({k: whole(v) * (0.9 if k.endswith("bias") else 1) for k, v in model.state_dict().items()})
    assert list(model.state_dict()) == keys
    train(model)


def facts(model):
    """Path, layout and shape of each variable."""
    members = [*model.named_parameters(), *model.named_buffers()]
    return {n: (weft.path_of(t), weft.layout_of(t).axes, tuple(t.shape)) for n, t in members}


def same_models(sharded, plain, names_kept=None):
    """The same names and values; where `names_kept` is given, the layouts and paths that it had."""
    got, want = sharded.state_dict(), plain.state_dict()
    assert list(got) == list(want), (list(got), list(want))
    for name, value in want.items():
        assert got[name].dtype == value.dtype and weft.is_sharded(got[name]), name
        same(got[name], value, name)
    if names_kept is not None:
        assert facts(sharded) == names_kept, (facts(sharded), names_kept)


def both(mesh, program):
    """The models that `program` left, run on a plain and on a sharded one, and what the layouts were before."""
    out = []
    for sharded in (None, mesh):
        model = net(sharded)
        before = facts(model) if sharded else None
        torch.manual_seed(3)
        with weft.random_mode("replay"):
            out.append(program(model) or model)
    return out[1], out[0], before
