"""Random ops draw by global index: the same seed gives the same values on every mesh and for every layout."""

import functools

import pytest
import torch
import torch.nn.functional as F
import weft
from support.cases import check, every_layout, meshes, on_worlds, run_cases, same, whole
from torch import nn

SHAPE = (6, 5)


def in_place(name, *args):
    return lambda x: getattr(x.clone(), name)(*args)


def init(f, *args):
    def run(x):
        p = x.clone()
        f(p, *args)
        return p

    return run


DRAWS = {
    "dropout": lambda x: F.dropout(x, 0.4),
    "nn.Dropout": lambda x: nn.Dropout(0.3)(x),
    "dropout1d": lambda x: F.dropout1d(x, 0.5),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.4, training=True),
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "rand_like float64": lambda x: torch.rand_like(x, dtype=torch.float64),
    "randint_like": lambda x: torch.randint_like(x, 2, 90),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "bernoulli p": lambda x: torch.bernoulli(x, 0.3),
    "bernoulli_": in_place("bernoulli_", 0.6),
    "normal_": in_place("normal_", 1.0, 2.0),
    "uniform_": in_place("uniform_", -1.0, 3.0),
    "exponential_": in_place("exponential_", 1.5),
    "random_": in_place("random_", 3, 50),
    "log_normal_": in_place("log_normal_"),
    "cauchy_": in_place("cauchy_"),
    "geometric_": in_place("geometric_", 0.4),
    "binomial": lambda x: torch.binomial((x + 3).round(), x.sigmoid()),
    "poisson": lambda x: torch.poisson(x.exp()),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "xavier_uniform_": init(nn.init.xavier_uniform_),
    "kaiming_normal_": init(nn.init.kaiming_normal_),
    "trunc_normal_": init(nn.init.trunc_normal_),
    "normal_ of a slice": lambda x: init(lambda p: p[1:4].normal_())(x * 1),
    "normal_ of a transposed": lambda x: init(lambda p: p.t().normal_())(x * 1),
    "randn_like of a transposed": lambda x: torch.randn_like(x.t()).t(),
}


def draw(name, x):
    torch.manual_seed(7)
    with torch.no_grad():
        first = DRAWS[name](x)
        return first, torch.randn_like(x)  # the generator went on alike


def values(world, wanted=None):
    """Case -> the values drawn, on each mesh of this world in each layout; they must be the same in this world."""
    x0 = torch.linspace(-2, 2, 30).view(SHAPE)
    found = {}

    def one(name):
        for mesh in meshes(world):
            for layout in every_layout(mesh, 2):
                got = [whole(t) for t in draw(name, weft.distribute_tensor(x0, layout))]
                expected = found.setdefault(name, got)
                for g, e in zip(got, expected, strict=True):
                    same(g, e, f"{name} {layout}", exact=True)

    return run_cases({name: functools.partial(one, name) for name in wanted or DRAWS}), found


@pytest.fixture(scope="module")
def alone():
    """The values of a world of one rank: this process, whose mesh (1) needs no group."""
    return values(1)


world = on_worlds(values, 2, 4)


@pytest.mark.parametrize("name", DRAWS)
def test_same_values_on_every_mesh_and_layout(alone, world, name):
    check([alone[0]] + [errors for errors, _ in world], name)
    for _, found in world:
        for got, expected in zip(found[name], alone[1][name], strict=True):
            assert torch.equal(got, expected), name


def test_values_are_random(alone):
    """A value of each distribution's range, not all alike."""
    for name, (first, second) in alone[1].items():
        if name in DRAWS and "bernoulli" not in name:
            assert first.unique().numel() > 3, name
        assert not torch.equal(first, second), name
    assert alone[1]["randn_like"][0].abs().max() > 1 > alone[1]["rand_like"][0].max()


REPLAYED = ("dropout", "randn_like", "rand_like", "bernoulli", "normal_", "uniform_", "exponential_", "rrelu")


def replay(mesh):
    """Replay mode: plain torch's own values."""
    x0 = torch.linspace(-2, 2, 30).view(SHAPE)
    for layout in every_layout(mesh, 2):
        for name in (*REPLAYED, "randn_like of a transposed"):
            want = draw(name, x0)
            with weft.random_mode("replay"):
                got = draw(name, weft.distribute_tensor(x0, layout))
            for g, w in zip(got, want, strict=True):
                same(g, w, f"{name} {layout}")


def pending_sum(mesh):
    """dropout of a pending sum is dropout of the sum; its backward uses the same mask."""
    layout = weft.TensorLayout((None, None), mesh, partial={"a": "sum"})
    part = torch.full(SHAPE, float(mesh.coordinates["a"] + 1), requires_grad=True)
    total = sum(range(1, mesh.axis_size("a") + 1))
    x = weft.from_local(part, layout)
    torch.manual_seed(3)
    y = F.dropout(x, 0.5)
    torch.manual_seed(3)
    mask = F.dropout(weft.distribute_tensor(torch.ones(SHAPE), ("a", None), mesh), 0.5)
    same(y, whole(mask) * total)
    assert set(whole(mask).unique().tolist()) == {0.0, 2.0}


def states(mesh):
    """manual_seed, get and set_rng_state, fork_rng and generators of one's own."""
    x = weft.distribute_tensor(torch.zeros(SHAPE), ("a", None), mesh)
    torch.manual_seed(5)
    first = whole(torch.randn_like(x))
    state = torch.get_rng_state()
    second = whole(torch.randn_like(x))
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(whole(torch.randn_like(x)), second)
    torch.set_rng_state(state)
    with torch.random.fork_rng():
        torch.randn_like(x)
    assert torch.equal(whole(torch.randn_like(x)), second)
    mine = [whole(x.clone().normal_(generator=torch.Generator().manual_seed(11))) for _ in range(2)]
    assert torch.equal(*mine) and not torch.equal(mine[0], second)
    # One key from the generator for any shape, on every rank: plain draws stay in step too.
    after = []
    for shape in ((6, 5), (1,), (40, 3), (0, 2)):
        torch.manual_seed(5)
        torch.randn_like(weft.distribute_tensor(torch.zeros(shape), ("a",) + (None,) * (len(shape) - 1), mesh))
        after.append(torch.rand(1))
    assert all(torch.equal(a, after[0]) for a in after)


def checkpoint_replays(mesh):
    """Activation checkpointing draws the same mask again: gradients as without it."""
    from torch.utils.checkpoint import checkpoint

    grads = []
    for mode in (None, True, False):
        torch.manual_seed(5)
        layer = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 5))
        weft.distribute_module(layer, {"0/weight": ("a", None), "2/weight": (None, "a")}, mesh=mesh)
        x = weft.distribute_tensor(torch.ones(SHAPE), ("a", None), mesh).requires_grad_()
        torch.manual_seed(9)
        out = layer(x) if mode is None else checkpoint(layer, x, use_reentrant=mode)
        out.square().sum().backward()
        grads.append([whole(x.grad), *(whole(p.grad) for p in layer.parameters())])
    for other in grads[1:]:
        for g, e in zip(other, grads[0], strict=True):
            torch.testing.assert_close(g, e)


def reset_parameters(mesh):
    """A module's own initialisation, in place on sharded parameters, does not depend on the layout."""
    found = []
    for axes in ((None, None), ("a", None), (None, "a")):
        layer = weft.distribute_module(nn.Linear(5, 7), {"weight": axes}, mesh=mesh)
        torch.manual_seed(2)
        layer.reset_parameters()
        found.append((whole(layer.weight), whole(layer.bias)))
    assert all(torch.equal(f[0], found[0][0]) and torch.equal(f[1], found[0][1]) for f in found)


OTHERS = {f.__name__: f for f in (replay, pending_sum, states, checkpoint_replays, reset_parameters)}


def others(world):
    mesh = meshes(world)[-1]
    return run_cases({name: functools.partial(f, mesh) for name, f in OTHERS.items()})


other_results = on_worlds(others, 2, 4)


@pytest.mark.parametrize("name", OTHERS)
def test_streams(other_results, name):
    check(other_results, name)
