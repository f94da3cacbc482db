"""torch.compile as users write it where sizes vary: compiled anew for each, and right; symbols are refused by name."""

import warnings

import pytest
import torch
import weft
from ranks.compiling import needed, recorded
from support.cases import cases_on_worlds, error_of, same
from torch import nn

pytestmark = needed

LAYOUTS = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a")}


def net(mesh=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3)).double()
    return model if mesh is None else weft.distribute_module(model, LAYOUTS, mesh=mesh)


def rows(n):
    torch.manual_seed(n)
    return torch.randn(n, 5, dtype=torch.float64)


def compiled(function, **options):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return torch.compile(function, backend="aot_eager", **options)


def programs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def is_as_plain(run, model, plain, x):
    steps_are_same(lambda: run(x).square().mean(), model, plain, x)


def steps_are_same(loss_of, model, plain, x):
    for m in (model, plain):
        m.zero_grad()
    loss, expected = loss_of(), plain(x).square().mean()
    loss.backward()
    expected.backward()
    same(loss, expected, f"{len(x)} rows")
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        same(p.grad, q.grad, f"gradient, {len(x)} rows")


def of_a_plain_input(mesh):
    """Another number of rows is another program; one that was there before is not compiled again."""
    with recorded():
        model, plain = net(mesh), net()
        run = compiled(model, fullgraph=True)
        for n in (6, 4, 9, 6, 4):
            is_as_plain(run, model, plain, rows(n))
        assert programs() == 3, programs()


def distributed_later(mesh):
    """The code has been compiled with symbols for a plain model before."""
    with recorded():
        model, plain = net(), net()
        run = compiled(model, fullgraph=True)
        for n in (6, 4):
            is_as_plain(run, model, plain, rows(n))
        weft.distribute_module(model, LAYOUTS, mesh=mesh)
        for n in (8, 3, 5):
            is_as_plain(run, model, plain, rows(n))


def of_a_number(mesh):
    with recorded():
        x = weft.distribute_tensor(rows(6), ("a", None), mesh)
        run = compiled(lambda x, n: x[:n].exp() * n, fullgraph=True)
        for n in (2, 3, 5):
            same(run(x, n), rows(6)[:n].exp() * n, f"{n}")


def of_plain_programs(mesh):
    """What sees no sharded tensors keeps its symbols."""
    with recorded():
        run = compiled(lambda x: x.exp() * 2, fullgraph=True)
        for n in (6, 4, 9, 7):
            same(run(rows(n)), rows(n).exp() * 2)
        assert programs() == 2, programs()


def asked_for(mesh):
    """A symbol that the program asks for is told by its name where there must be a graph."""
    marked, model = rows(6), net(mesh)
    torch._dynamo.mark_dynamic(marked, 0)
    sharded = weft.distribute_tensor(rows(6), ("a", None), mesh)
    of_sharded = weft.distribute_tensor(rows(6), ("a", None), mesh)
    torch._dynamo.mark_dynamic(of_sharded, 0)
    named = {r"x\.size\(\)\[0\]": (marked, None), "size 0 of x": (of_sharded, None), "sizes of x": (sharded, True)}
    with recorded():
        for name, (x, dynamic) in named.items():

            def product(x):
                return model(x)

            run = compiled(product, fullgraph=True, dynamic=dynamic)
            with pytest.raises(Exception, match=rf"\[W067\].*{name}.*mark_dynamic and dynamic=True"):
                run(x)
        kind, text, _ = error_of(lambda: compiled(product, fullgraph=True, dynamic=True)(rows(6)))
        assert "[W067]" in text and "x.size()[0]" in text, (kind, text)


def asked_for_in_vain(mesh):
    """Where there need be no graph, what has such symbols runs op by op."""
    with recorded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, plain = net(mesh), net()
        run = compiled(model, dynamic=True)
        for n in (6, 4):
            is_as_plain(run, model, plain, rows(n))
        for on in (True, False):
            weft.compile_graphs(on)
            run = compiled(lambda x: x.exp() * x.shape[0], dynamic=True)
            for n in (6, 4):
                same(run(weft.distribute_tensor(rows(n), ("a", None), mesh)), rows(n).exp() * n, f"{on}")


def of_fewer_rows_than_parts():
    """Ranks without rows compile what the others do, sums of nothing with it."""
    mesh = weft.DeviceMesh((2, 2), ("a", "b"), device_type="cpu")
    with recorded():
        plain, layouts = net(), {"0/weight": ("b", "a"), "0/bias": ("b",), "2/weight": ("a", "b")}
        model = weft.distribute_module(net(), layouts, mesh=mesh)
        run = compiled(lambda x: model(x).square().mean())
        for n in (3, 1):
            split = weft.distribute_tensor(rows(n), ("a", None), mesh)
            steps_are_same(lambda split=split: run(split), model, plain, rows(n))


def test_of_fewer_rows_than_parts(ranks4):
    ranks4(of_fewer_rows_than_parts, timeout=200)


CASES = {
    case.__name__: case
    for case in (
        of_a_plain_input, distributed_later, of_a_number, of_plain_programs, asked_for, asked_for_in_vain,
    )
}  # fmt: skip
results, test_case = cases_on_worlds(globals(), 2, timeout=240)
