"""torch.compile of programs that write what they are given, of which others may hold the same values."""

import pytest
import torch
import weft
from ranks.compiling import needed, recorded
from support.cases import check, meshes, on_worlds, run_cases, same

pytestmark = needed


def adds(a, b):
    a.add_(1)
    return b * 2


def reads_first(a, b):
    c = b * 2
    a.add_(1)
    return c, b + 1


PAIRS = {
    "rows": lambda x: (x, x[1:]),
    "of_rows": lambda x: (x[1:], x),
    "detached": lambda x: (x, x.detach()),
    "transposed": lambda x: (x, x.t()),
    "itself": lambda x: (x, x),
    "apart": lambda x: (x[:, :2], x[:, 2:]),
    "halves": lambda x: (x[:3], x[3:]),
}


def values(mesh, axes):
    value = torch.randn(6, 4, dtype=torch.float64)
    return value, weft.distribute_tensor(value, axes, mesh)


def pairs(program, pair):
    def case(mesh):
        torch._dynamo.reset()
        run = torch.compile(program, backend="aot_eager")
        for axes in (("a", None), (None, "a")):
            plain, x = values(mesh, axes)
            got, expected = run(*pair(x)), program(*pair(plain))
            for a, b in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, expected)), strict=True):
                same(a, b, str(axes))
            same(x, plain, str(axes))

    return case


def alike_later(mesh):
    """Two that were apart when the program was compiled are one later: refused before anything is written."""
    torch._dynamo.reset()
    run = torch.compile(adds, backend="aot_eager", fullgraph=True)
    plain, x = values(mesh, ("a", None))
    _, y = values(mesh, ("a", None))
    run(x, y)
    plain += 1
    with pytest.raises(NotImplementedError, match=r"\[W067\].* hold the same values, f64\[6@a, 4\] and f64\[6@a, 4\]"):
        run(x, x.detach())
    same(x, plain)


def moved_view(mesh):
    """A write to a view whose values were moved reaches what it is a view of, op by op; as one that was not, later."""
    torch._dynamo.reset()
    run = torch.compile(lambda a: a.add_(1) * 2, backend="aot_eager")
    for rows in (slice(0, 6), slice(1, 3), slice(0, 6)):
        plain, x = values(mesh, ("a", None))
        same(run(x[rows]), plain[rows].add_(1) * 2)
        same(x, plain)


def seen_through_views(mesh):
    """Views made before see what a program writes."""
    torch._dynamo.reset()
    run = torch.compile(lambda a: a.add_(1), backend="aot_eager", fullgraph=True)
    plain, x = values(mesh, ("a", None))
    seen = [x[1:3], x.t(), x.view(-1), x.detach()], [plain[1:3], plain.t(), plain.view(-1), plain.detach()]
    run(x), plain.add_(1)
    for a, b in zip(*seen, strict=True):
        same(a, b)


def not_a_leaf(mesh):
    """A write to a tensor that was computed, with gradients."""
    torch._dynamo.reset()
    run = torch.compile(lambda a: a[1:3].mul_(2), backend="aot_eager", fullgraph=True)
    plain, x = values(mesh, ("a", None))
    plain.requires_grad_(), x.requires_grad_()
    computed, expected = x * 3, plain * 3
    run(computed), expected[1:3].mul_(2)
    same(computed, expected)
    computed.sum().backward(), expected.sum().backward()
    same(x.grad, plain.grad)


def pending(mesh):
    """A pending sum that is written holds on each rank what it is to hold there, and is written once."""
    layout = weft.TensorLayout((None, None), mesh, {"a": "sum"})
    other = torch.randn(6, 4, dtype=torch.float64)
    for program in (
        lambda a: a.add_(1),
        lambda a: a.mul_(2),
        lambda a: a.add_(a),
        lambda a: a.relu_(),
        lambda a: a.copy_(other),
        lambda a: a[1:3].add_(1),
    ):
        torch._dynamo.reset()
        part = torch.randn(6, 4, dtype=torch.float64)
        x, plain = weft.from_local(part.clone(), layout), part * 2
        same(torch.compile(program, backend="aot_eager", fullgraph=True)(x), program(plain))
        same(x, plain)


def data(mesh):
    """`.data = ` is such a write, and moves nothing."""
    torch._dynamo.reset()

    def program(a, b):
        a.data = a.data * 2 + b
        return a * 3

    run = torch.compile(program, backend="aot_eager", fullgraph=True)
    plain, x = values(mesh, ("a", None))
    plain.requires_grad_(), x.requires_grad_()
    for _ in range(2):
        with weft.trace() as trace:
            got = run(x, x.detach().clone())
        assert trace.total_bytes == 0, trace
        same(got, program(plain, plain.detach().clone()))
        same(x, plain)


def in_inference_mode(mesh):
    torch._dynamo.reset()
    run = torch.compile(lambda a: a.add_(1)[1:3] * 2, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        plain, x = values(mesh, ("a", None))
        same(run(x), plain.add_(1)[1:3] * 2)
        same(x, plain)


def saved_for_backward(mesh):
    """What backward needs must not be written in between: the error that plain torch gives."""
    for program, write in ((torch.exp, lambda x, y: y), (torch.square, lambda x, y: x)):
        torch._dynamo.reset()
        run = torch.compile(program, backend="aot_eager", fullgraph=True)
        for tensor in values(mesh, ("a", None)):
            x = tensor.requires_grad_()
            y = run(x)
            with torch.no_grad():
                write(x, y).mul_(2)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.sum().backward()


CASES = {
    **{f"{p.__name__}-{name}": pairs(p, pair) for p in (adds, reads_first) for name, pair in PAIRS.items()},
    **{
        f.__name__: f
        for f in (
            alike_later,
            moved_view,
            seen_through_views,
            not_a_leaf,
            saved_for_backward,
            pending,
            data,
            in_inference_mode,
        )
    },
}


def cases(world):
    mesh = meshes(world)[0]
    with recorded():
        return run_cases({name: lambda f=f: f(mesh) for name, f in CASES.items()})


results = on_worlds(cases, 2, timeout=180)


@pytest.mark.parametrize("name", CASES)
def test_writes(results, name):
    check(results, name)
