"""In-place writes through views, values and gradients, for every layout of the base: equal to plain torch."""

import functools

import pytest
import torch
import weft
from ranks.inplace_views import CASES, SHAPE
from support.cases import check, every_layout, meshes, on_worlds, run_cases, same


def one(name, layout, source):
    f = CASES[name]
    x0, s0 = torch.randn(SHAPE), torch.randn(SHAPE)
    px, ps = x0.clone().requires_grad_(), s0.clone().requires_grad_()
    py = px * 1
    po = f(py, ps)
    weight = torch.linspace(-1, 1, po.numel()).view(po.shape)
    (po * weight).sum().backward()
    x = weft.distribute_tensor(x0, layout).detach().requires_grad_()
    s = (weft.distribute_tensor(s0, source) if source else s0.clone()).detach().requires_grad_()
    y = x * 1
    assert weft.layout_of(y) == layout
    out = f(y, s)
    same(y, py, "base")
    same(out, po, "result")
    (out * weight).sum().backward()
    assert weft.layout_of(x.grad).axes == layout.axes
    same(x.grad, px.grad, "gradient")
    if ps.grad is not None:
        same(s.grad, ps.grad, "gradient of the source")


def stale(layout):
    """A view that autograd saved is stale once its base, or another view of it, was written."""
    for write in (
        lambda y: y.mul_(2),
        lambda y: y[3:6].mul_(2),
        lambda y: y.select(1, 0).zero_(),
        lambda y: y.transpose(0, 1)[1:3].add_(1),
        lambda y: y.detach()[2:4].add_(1),
    ):
        x = weft.distribute_tensor(torch.randn(SHAPE), layout).detach().requires_grad_()
        y = x * 1
        out = y[2:5].exp() + y[2:5].square()  # square saves the view
        write(y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def detached(layout):
    """A write through view.detach() lands in the base, on all ranks, and autograd does not see it."""
    x0 = torch.randn(SHAPE)
    for view in (lambda t: t[2:5], lambda t: t[:, 1:4], lambda t: t.transpose(0, 1)[1:], lambda t: t.select(2, 1)):
        px = x0.clone().requires_grad_()
        py = px * 1
        view(py).detach().mul_(3)
        view(py.detach()).add_(1)
        (py * 2).sum().backward()
        x = weft.distribute_tensor(x0, layout).detach().requires_grad_()
        y = x * 1
        view(y).detach().mul_(3)
        view(y.detach()).add_(1)
        same(y, py, "base")
        (y * 2).sum().backward()
        same(x.grad, px.grad, "gradient")


def leaf(layout):
    """A leaf, written under no_grad, through views of it and through .data."""
    x0 = torch.randn(SHAPE)
    pairs = []
    for x in (x0.clone(), weft.distribute_tensor(x0, layout).detach()):
        p = torch.nn.Parameter(x)
        with torch.no_grad():
            p[2:5] = 0
            p[:, 1:3].mul_(2)
            p.select(0, 6).uniform_(2, 2)
            p.t_() if p.dim() == 2 else p.data.transpose(0, 1)[0].add_(1)
        p.data[1].fill_(4)
        with pytest.raises(RuntimeError, match="leaf Variable|a view of a leaf"):
            p[2:5].mul_(2)
        pairs.append(p)
    same(pairs[1], pairs[0], "leaf")


def offsets(layout):
    """Views know the whole tensor's sizes, strides and storage offset."""
    x0 = torch.randn(SHAPE)
    x = weft.distribute_tensor(x0, layout)
    for view in (
        lambda t: t[2:5],
        lambda t: t[2:5][1:],
        lambda t: t[:, 1:4].select(1, 1),
        lambda t: t.transpose(0, 2)[1:],
        lambda t: t[1::3],
        lambda t: t.unsqueeze(0)[:, 3],
        lambda t: t.chunk(3)[2],
        lambda t: t.split(2, 1)[1],
        lambda t: t[4:].expand(3, 3, 5, 4),
        lambda t: t[3].detach(),
        lambda t: t.unbind(1)[2],
        lambda t: t.diagonal(0, 1, 2),
        lambda t: t.as_strided((3, 4), (20, 1), 25),
    ):
        want, got = view(x0), view(x)
        facts = lambda t: (t.shape, t.stride(), t.storage_offset())  # noqa: E731
        assert facts(got) == facts(want), (facts(got), facts(want))
        same(got, want)


def complex_views(layout):
    """Writes through views that conjugate or show the real and imaginary parts."""
    x0 = torch.randn(*SHAPE, dtype=torch.complex64)
    for write in (
        lambda t: torch.view_as_real(t).mul_(2),
        lambda t: torch.view_as_real(t)[2:5].mul_(2),
        lambda t: torch.view_as_real(t)[:, 1:3, :, 1].zero_(),
        lambda t: t.real[1:4].add_(1),
        lambda t: t.imag[:, 1:3].mul_(2),
        lambda t: t.conj()[2:5].mul_(2 + 1j),
        lambda t: t.conj().transpose(0, 1)[1:3].fill_(1j),
        lambda t: t[1:6].conj()[2:].imag.fill_(2),
        lambda t: t.conj()[2:5].imag[1:].mul_(3),
        lambda t: t.conj()[:, 1:4].transpose(0, 1).imag[2].add_(1),
    ):
        px = x0.clone().requires_grad_()
        py = px * 1
        write(py)
        torch.view_as_real(py * x0).sum().backward()
        x = weft.distribute_tensor(x0, layout).detach().requires_grad_()
        y = x * 1
        write(y)
        same(y, py, "base")
        torch.view_as_real(y * x0).sum().backward()
        same(x.grad, px.grad, "gradient")


def laid_out_anew(layout):
    """Another layout of a tensor is a tensor of its own; the same layout is the tensor itself."""
    for other in every_layout(layout.device_mesh, 3):
        x0 = torch.randn(*SHAPE)
        x = weft.distribute_tensor(x0, layout)
        y = weft.distribute_tensor(x, other)
        y.mul_(2)
        same(y, 2 * x0, f"{other.axes} {other.partial}")
        same(x, 2 * x0 if other == layout else x0, f"source of {other.axes} {other.partial}")


def viewed_again(layout):
    """What a view looked like the first time is remembered: each tensor keeps its own memory all the same."""
    first, second = torch.randn(SHAPE), torch.randn(SHAPE)
    for plain in (first, second, first):
        x = weft.distribute_tensor(plain, layout)
        want = plain.clone()
        for y in (x, want):
            y.transpose(0, 1).select(2, 1).mul_(3)
            y[:, 1:3].unsqueeze(0).expand(1, -1, -1, -1).add_(1)
        same(x, want)
        same(x.transpose(0, 1)[1], want.transpose(0, 1)[1])


def filled_where_expanded(layout):
    """One value written through elements that are one: core takes it, if without a gradient."""
    x0 = torch.randn(SHAPE)
    x = weft.distribute_tensor(x0.clone(), layout)
    for y in (x0, x):
        y[1:2, :1].expand(3, 2, -1).fill_(2)
        y[2:3].expand(4, 5, -1).transpose(0, 1)[1:, 2:].zero_()
        y[:, 2:3].expand(-1, 3, -1)[4:] = 0.5
        y[4:5].expand(2, -1, -1).flatten(1)[:, 3:] = 7
        torch._foreach_zero_([y[5:6, 1:].expand(2, -1, -1), y[:, 4, None].expand(-1, 3, -1)[0]])
    same(x, x0)


OTHERS = {
    f.__name__: f
    for f in (stale, detached, leaf, offsets, complex_views, laid_out_anew, viewed_again, filled_where_expanded)
}


def every_case(world):
    cases = {}
    for mesh in meshes(world):
        for number, layout in enumerate(every_layout(mesh, 3)):
            # The source is plain, or laid out as the base or otherwise.
            source = (None, layout if not layout.partial else None, weft.TensorLayout((None, None, "a"), mesh))[
                number % 3
            ]
            where = f"{layout.axes} {layout.partial or ''}".strip()
            for name in CASES:
                cases[f"{name} {where}"] = functools.partial(one, name, layout, source)
            for name, f in OTHERS.items():
                cases[f"{name} {where}"] = functools.partial(f, layout)
    return run_cases(cases)


results = on_worlds(every_case, 2, 3)


@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_equals_plain(results, name):
    for key in results[0]:
        if key.split()[0] == name:
            check(results, key)
