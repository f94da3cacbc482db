"""torch.compile of distributed models: values, gradients and collectives as in eager, one graph, no values baked in."""

import contextlib

import pytest
import torch
import weft
from ranks.compiling import moved, needed, recorded
from support.cases import check, error_of, meshes, on_worlds, run_cases, same, same_gradients
from torch import nn
from weft import collective_order, traced_programs

pytestmark = needed

LAYOUTS = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a")}


def net(mesh=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3)).double()
    return model if mesh is None else weft.distribute_module(model, LAYOUTS, mesh=mesh)


def batches(number, rows=6):
    torch.manual_seed(number)
    return torch.randn(rows, 5, dtype=torch.float64), torch.randn(rows, 3, dtype=torch.float64)


def split(mesh, *tensors):
    return [weft.distribute_tensor(t, (mesh.axis_names[-1], None), mesh) for t in tensors]


def loss_of(model, x, y):
    return (model(x) - y).square().mean()


def compiled(backend, **options):
    torch._dynamo.reset()
    return torch.compile(loss_of, backend=backend, fullgraph=True, **options)


def trains(mesh, backend="aot_eager", given=lambda mesh, *tensors: tensors):
    """Three steps on new batches, the weights changed in between, beside a plain model."""
    torch._dynamo.utils.counters.clear()
    plain, model, run = net(), net(mesh), compiled(backend)
    for step in range(3):
        x, y = batches(step)
        expected, loss = loss_of(plain, x, y), run(model, *given(mesh, x, y))
        expected.backward()
        loss.backward()
        same(loss, expected, f"step {step}")
        same_gradients(model, plain)
        with torch.no_grad():
            for p in (*plain.parameters(), *model.parameters()):
                p -= 0.1 * p.grad
                p.grad = None
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def trains_split_batch(mesh, backend="aot_eager"):
    trains(mesh, backend, split)


def collectives(mesh):
    """Those of the eager plan, of each kind as many; nothing baked in."""
    for given in (lambda mesh, *tensors: tensors, split):
        model, batch = net(mesh), given(mesh, *batches(0))
        expected, got, baked = moved(lambda b=batch, m=model: loss_of(m, *b), model)
        assert baked == []
        assert got == expected, (got, expected)


def another_batch(mesh):
    """Another number of rows is another program."""
    plain, model, run = net(), net(mesh), compiled("aot_eager")
    for rows in (6, 4, 8, 6):
        x, y = batches(rows, rows)
        same(run(model, *split(mesh, x, y)), loss_of(plain, x, y), f"{rows} rows")


def another_layout(mesh):
    """What was compiled for one layout is not run on another."""
    torch._dynamo.reset()
    run = torch.compile(lambda w: (w * 2).sum(0), backend="aot_eager", fullgraph=True)
    value = torch.randn(4, 6, dtype=torch.float64)
    for axes in ((None, None), ("a", None), (None, "a"), ("a", None)):
        w = weft.distribute_tensor(value, axes, mesh)
        same(run(w), value.mul(2).sum(0), str(axes))
        assert weft.layout_of(run(w)) == weft.layout_of((w * 2).sum(0))


def compiled_first(mesh):
    """The module is compiled, then distributed."""
    torch._dynamo.reset()
    plain, model = net(), net()
    run = torch.compile(model, backend="aot_eager", fullgraph=True)
    x, y = batches(0)
    same(run(x), plain(x))
    weft.distribute_module(model, LAYOUTS, mesh=mesh)
    loss = (run(x) - y).square().mean()
    expected = loss_of(plain, x, y)
    loss.backward()
    expected.backward()
    same(loss, expected)
    same_gradients(model, plain)


def changes_buffers(mesh):
    """Batch normalization's running statistics, in training and after it."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain, model = nn.BatchNorm1d(5).double(), nn.BatchNorm1d(5).double()
    weft.distribute_module(model, {}, mesh=mesh)
    run = torch.compile(model, backend="aot_eager")  # what is not recorded runs op by op
    for training in (True, True, False):
        plain.train(training), model.train(training)
        x, _ = batches(3)
        same(run(*split(mesh, x)), plain(x))
        same(model.running_mean, plain.running_mean)


def in_place(mesh):
    """Writes to what is given reach it, and views of it."""
    torch._dynamo.reset()

    def step(x):
        x.add_(1)
        x[1:3].mul_(2)
        return x.t() * 3

    value = torch.randn(6, 4, dtype=torch.float64)
    x = weft.distribute_tensor(value, ("a", None), mesh)
    got = torch.compile(step, backend="aot_eager", fullgraph=True)(x)
    expected = step(value)
    same(got, expected)
    same(x, value)


def checked_later(mesh):
    """weft.check_finite holds for what was compiled before, while it is on."""
    torch._dynamo.reset()
    run = torch.compile(lambda x: x.log() * 2, backend="aot_eager")
    x = weft.distribute_tensor(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), ("a", None), mesh)
    run(x)
    with weft.check_finite():
        kind, text, _ = error_of(lambda: run(-x))
    assert kind == "RuntimeError" and "[log]" in text, (kind, text)
    assert weft.full_tensor(run(-x)).isnan().all()


def keeps_sums(mesh):
    """What a metric does: a sum is added to what it keeps, which is written."""
    torch._dynamo.reset()
    total = weft.distribute_tensor(torch.zeros((), dtype=torch.float64), (), mesh)

    def update(x):
        total.copy_(total + x.sum())
        return x * 2

    run = torch.compile(update, backend="aot_eager", fullgraph=True)
    expected = torch.zeros((), dtype=torch.float64)
    for step in range(3):
        x, _ = batches(step)
        expected += x.sum()
        same(run(*split(mesh, x)), x * 2)
        update(*split(mesh, x))  # op by op, its sum not waited for
        expected += x.sum()
    same(total, expected)


def types(mesh):
    """Code that asks what a tensor is takes the way that it takes op by op."""

    def asks(w, x):
        y = w * 2 if isinstance(w, nn.Parameter) and type(w) is not type(x) else w
        return y + 1 if type(x) is torch.Tensor and type(y) is torch.Tensor else y

    torch._dynamo.reset()
    value = torch.randn(6, 4, dtype=torch.float64)
    w = nn.Parameter(weft.distribute_tensor(value, ("a", None), mesh))
    x = weft.distribute_tensor(value, (None, "a"), mesh)
    same(torch.compile(asks, backend="aot_eager", fullgraph=True)(w, x), value * 2 + 1)


def transforms(mesh):
    """torch.func within compiled code."""
    w, x = (torch.randn(n, m, dtype=torch.float64) for n, m in ((6, 4), (4, 6)))

    def gradient(w, x):
        return torch.func.grad(lambda w: (x @ w).square().sum())(w)

    def product(w, x):
        return torch.func.vjp(lambda w: (x @ w).square(), w)[1](torch.ones_like(x @ w))[0]

    for program in (gradient, product):
        for wanted in (False, True):
            torch._dynamo.reset()
            given = [weft.distribute_tensor(t, ("a", None), mesh).requires_grad_(wanted) for t in (w, x)]
            same(torch.compile(program, backend="aot_eager", fullgraph=True)(*given), program(w, x))


def optimizers(mesh):
    """Their compiled steps are plain torch's, and send nothing."""
    for make in (
        torch.optim.AdamW,
        lambda p: torch.optim.Adam(p, foreach=False),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        torch.optim.Adagrad,
    ):
        torch._dynamo.reset()
        plain, model = net(), net(mesh)
        expected, optimizer = make(plain.parameters()), make(model.parameters())
        run = torch.compile(optimizer.step, backend="aot_eager")
        for step in range(3):
            x, y = batches(step)
            for m in (plain, model):
                m.zero_grad()
                loss_of(m, x, y).backward()
            expected.step()
            with weft.trace() as trace:
                run()
            assert trace.total_bytes == 0, trace
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            same(p, q)


def traces(mesh):
    """What a compiled program sends is traced, and nothing is compiled anew for it, on whatever ranks."""
    torch._dynamo.utils.counters.clear()
    model, run = net(mesh), compiled("aot_eager")
    batch = split(mesh, *batches(0))
    run(model, *batch).backward()
    if weft.rank() == 0:
        with weft.trace() as trace:
            run(model, *batch).backward()
        assert trace.total_bytes > 0
        assert {row.op for row in trace.rows} == {"a compiled program"}, trace.rows
    else:
        run(model, *batch).backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def traces_the_first(mesh):
    """One rank's trace is no part of what is compiled within it."""
    torch._dynamo.utils.counters.clear()
    torch._dynamo.reset()
    model = net(mesh)
    run = torch.compile(model, backend="aot_eager", fullgraph=True)
    x, _ = split(mesh, *batches(0))
    traced_programs._has_recorded = False  # by other cases
    with weft.trace() if weft.rank() == 0 else contextlib.nullcontext():
        run(x)
    same(run(x), net()(batches(0)[0]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def another_order_on_a_rank(mesh):
    """Where one rank would put its collectives into another order, all keep the program's."""
    kept = collective_order._FIRST
    collective_order._FIRST = 1 if weft.rank() == 0 else kept
    try:
        with weft.trace() as trace:
            trains_split_batch(mesh)
    finally:
        collective_order._FIRST = kept
    assert trace.count("reduce_scatter") == 3 * 3, trace  # each gradient by itself


def whole_values(mesh):
    """weft.full_tensor in a graph is a collective of it; its backward pass is not recorded yet."""
    torch._dynamo.reset()
    value = torch.randn(6, 4, dtype=torch.float64)
    x = weft.distribute_tensor(value, ("a", None), mesh).requires_grad_()
    got = torch.compile(lambda x: torch.ops.weft.full_tensor(x.exp()).square(), backend="aot_eager")(x)
    assert not weft.is_sharded(got)
    got.sum().backward()
    plain = value.clone().requires_grad_()
    plain.exp().square().sum().backward()
    same(got, value.exp().square())
    same(x.grad, plain.grad)


CASES = {
    case.__name__: case
    for case in (
        trains, trains_split_batch, collectives, another_batch, another_layout, compiled_first, changes_buffers,
        checked_later, in_place, traces, keeps_sums, another_order_on_a_rank, whole_values,
        optimizers, types, traces_the_first, transforms,
    )
}  # fmt: skip


def cases(world):
    with recorded():
        return run_cases({name: lambda f=f: f(meshes(world)[0]) for name, f in CASES.items()})


def inductor_cases(world):
    mesh = meshes(world)[0]
    with recorded():
        return run_cases({f.__name__: lambda f=f: f(mesh, "inductor") for f in INDUCTOR})


INDUCTOR = (trains, trains_split_batch)
results = on_worlds(cases, 2, timeout=240)
inductor = on_worlds(inductor_cases, 2, timeout=560)


@pytest.mark.parametrize("name", CASES)
def test_compile(results, name):
    check(results, name)


@pytest.mark.long
@pytest.mark.parametrize("name", [f.__name__ for f in INDUCTOR])
def test_inductor(inductor, name):
    check(inductor, name)
