"""Random values in compiled programs: those of the same program op by op, on all ranks, run after run."""

import pytest
import torch
import torch.nn.functional as F
import weft
from ranks.compiling import needed, recorded
from support.cases import check, meshes, on_worlds, run_cases, same
from torch.utils.checkpoint import checkpoint

pytestmark = needed

WHOLE, ROWS, COLUMNS = (None, None), ("a", None), (None, "a")


def value():
    return torch.linspace(0, 1, 7 * 6, dtype=torch.float64).view(7, 6)


def draws_as_op_by_op(mesh, function, backend, axes=(WHOLE, ROWS, COLUMNS)):
    """Three steps of each layout: values, gradients, and where the generator is afterwards."""
    for layout in axes:
        torch._dynamo.reset()
        found = []
        for run in (function, torch.compile(function, backend=backend, fullgraph=True)):
            torch.manual_seed(3)
            steps = []
            for _ in range(3):
                x = weft.distribute_tensor(value(), layout, mesh).requires_grad_()
                out = run(x)
                out.square().sum().backward()
                steps += [weft.local_tensor(out.detach()), weft.local_tensor(x.grad)]
            found.append((steps, torch.get_rng_state()))
        (expected, state), (got, after) = found
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            same(g, e, f"{layout}, {i}", exact=backend == "aot_eager")
        assert torch.equal(state, after), layout
        assert not torch.equal(expected[0], expected[2]), "nothing was drawn"


def distributions(x):
    """In place and not, of numbers and of tensors."""
    y = torch.rand_like(x) + torch.randn_like(x) * x + torch.bernoulli(x.detach().clamp(0, 1))
    y = y + torch.empty_like(x).normal_(1, 2) + torch.empty_like(x).uniform_(-3, 3) * x
    return y + torch.randint_like(x, 2, 9) + torch.normal(x.detach(), 0.5) + torch.empty_like(x).exponential_(2.0)


def beside_plain(x):
    """Plain values and sharded ones in turns."""
    y = F.dropout(x, 0.5) + torch.rand(7, 6, dtype=x.dtype)
    return F.dropout(y, 0.25) * torch.randn(7, 1, dtype=x.dtype)


def recomputed(x):
    return checkpoint(lambda x: F.dropout(x.exp(), 0.5).sin() * x, x, use_reentrant=False)


def unused_on_a_rank(x):
    """Rows that one rank alone has are used; all draw them."""
    return F.dropout(x, 0.5)[:1].sum() + F.dropout(x, 0.5)


PROGRAMS = {
    "dropout": lambda x: F.dropout(x * 2, 0.5).exp(),
    "two layers": lambda x: F.dropout(F.dropout(x @ x.t(), 0.3).tanh() @ x, 0.3),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.3)[0],
    "distributions": distributions,
    "beside plain": beside_plain,
    "recomputed": recomputed,
    "unused on a rank": unused_on_a_rank,
}


def ranks_agree(mesh):
    """What all ranks hold is the same on all."""
    torch._dynamo.reset()
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4)).double()
    weft.distribute_module(model, {"0/weight": ("a", None), "2/weight": (None, "a")}, mesh=mesh)
    run = torch.compile(lambda x: F.dropout(model(x), 0.5), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        out = run(value()).detach()
        part = weft.local_tensor(out)
        everywhere = weft.from_local(part[None], weft.TensorLayout(("a", None, None), mesh))
        first, second = weft.full_tensor(everywhere).unbind()
        assert weft.layout_of(out) == weft.TensorLayout(WHOLE, mesh)
        same(first, second, exact=True)


def plain_torchs_own(mesh):
    """In replay mode the values are plain torch's; what was compiled in the other mode is not run in this one."""
    torch._dynamo.reset()
    run = torch.compile(lambda x: F.dropout(x, 0.5), backend="aot_eager", fullgraph=True)
    x = weft.distribute_tensor(value(), ROWS, mesh)
    for mode in ("counter", "replay", "counter"):
        torch.manual_seed(5)
        with weft.random_mode(mode):
            got = run(x)
            torch.manual_seed(5)
            same(got, weft.full_tensor(F.dropout(x, 0.5)), mode, exact=True)
    torch.manual_seed(5)
    plain = F.dropout(value(), 0.5)
    with weft.random_mode("replay"):
        torch.manual_seed(5)
        same(run(x), plain, exact=True)


def another_order(mesh):
    """The same where dimensions lie in another order: in place, core's ops draw along memory."""
    x = weft.distribute_tensor(value(), ROWS, mesh).t()
    for draw in (
        lambda x: F.dropout(x, 0.5),
        lambda x: torch.empty_like(x).normal_(1, 2),
        lambda x: torch.empty_like(x).bernoulli_(x.clamp(0, 1)) + torch.empty_like(x).uniform_(-1, 3),
    ):
        torch._dynamo.reset()
        run = torch.compile(draw, backend="aot_eager", fullgraph=True)
        with weft.random_mode("replay"):
            for step in range(2):
                torch.manual_seed(step)
                got = run(x)
                torch.manual_seed(step)
                same(got, weft.full_tensor(draw(x)), exact=True)
                torch.manual_seed(step)
                same(got, draw(value().t()), exact=True)


def own_generator(mesh):
    """Dynamo leaves such draws to Python: they are made op by op, between two programs."""
    torch._dynamo.reset()
    generator = torch.Generator()

    def function(x):
        return x.exp() * torch.rand_like(x, generator=generator).square()

    found = []
    for run in (function, torch.compile(function, backend="aot_eager")):
        generator.manual_seed(7)
        found.append(run(weft.distribute_tensor(value(), ROWS, mesh)))
    same(found[1], weft.full_tensor(found[0]), exact=True)


def cases(world, backend):
    mesh = meshes(world)[0]
    with recorded():
        found = {name: lambda f=f: draws_as_op_by_op(mesh, f, backend) for name, f in PROGRAMS.items()}
        if backend == "aot_eager":
            found |= {f.__name__: lambda f=f: f(mesh) for f in OTHERS}
        return run_cases(found)


OTHERS = (ranks_agree, plain_torchs_own, another_order, own_generator)
results = on_worlds(cases, 2, args=("aot_eager",), timeout=240)
inductor = on_worlds(cases, 2, args=("inductor",), timeout=560)


@pytest.mark.parametrize("name", [*PROGRAMS, *(f.__name__ for f in OTHERS)])
def test_draws(results, name):
    check(results, name)


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_inductor_draws(inductor, name):
    check(inductor, name)
