"""What lies in one memory: entries of lists that read what others write, what core refuses to write, and copies."""

import copy

import pytest
import torch
import weft
from support.cases import cases_on_worlds, every_layout, same

SHAPE = (5, 6)


def pairs(mesh, ndim=2):
    """Layouts of two tensors: each with the next one."""
    layouts = every_layout(mesh, ndim)
    return zip(layouts, [*layouts[1:], None], strict=True)


def lay(x, layout):
    return x.clone() if layout is None else weft.distribute_tensor(x.clone(), layout)


def entries(mesh):
    """Entries of a list that read each other's targets see what was written, as one after the other."""
    torch.manual_seed(0)
    x0, y0 = torch.randn(SHAPE), torch.randn(SHAPE)
    steps = (
        lambda x, y: torch._foreach_add_([x, y], [y, x]),
        lambda x, y: torch._foreach_addcmul_([x, y], [y, x], [x, y], [1.0, 2.0]),
        lambda x, y: torch._foreach_addcdiv_([x, y], [y, x], [x, x], torch.tensor([1.0, 2.0])),
        lambda x, y: torch._foreach_mul_([x[0:2], y, x[0:2]], [2.0, 3.0, 4.0]),
        lambda x, y: torch._foreach_copy_([x, y[2], x[1]], [y, x[0], y[2]]),
        lambda x, y: torch._foreach_lerp_([x, y], [y, x], 0.25),
    )
    for step in steps:
        x1, y1 = x0.clone(), y0.clone()
        step(x1, y1)
        for one, other in pairs(mesh):
            x, y = lay(x0, one), lay(y0, other)
            before = y._version
            step(x, y)
            same(x, x1, f"first, {one} and {other}")
            same(y, y1, f"second, {one} and {other}")
            assert y._version == before + 1 or other is None


def refused(mesh):
    """What core refuses to write is refused on all ranks alike, with its words, before anything is changed."""
    writes = (
        lambda x: x.sub_(x[0]),
        lambda x: x[1:].copy_(x[:4]),
        lambda x: x.view(6, 5)[:5].add_(x.view(6, 5)[1:]),
        lambda x: x[:1].expand(3, 6).add_(1),
        lambda x: x.unsqueeze(0).expand(3, 5, 6).mul_(2),
        lambda x: x[0].eq_(x[0, 0]),
        lambda x: torch._foreach_mul_([x[0], x[1:]], [x[1], x[:4]]),
    )
    x0 = torch.arange(30.0).view(SHAPE) + 1
    for number, write in enumerate(writes):
        with pytest.raises(RuntimeError) as plain:
            write(x0.clone())
        for layout in every_layout(mesh, 2):
            x = weft.distribute_tensor(x0, layout)
            with pytest.raises(RuntimeError) as raised:
                write(x)
            assert str(raised.value).startswith("[W068]"), f"{number} {layout}: {raised.value}"
            assert str(plain.value) in str(raised.value), f"{number} {layout}: {raised.value}"
            same(x, x0, f"{number} {layout}", exact=True)


def allowed(mesh):
    """What core allows is done, also where ranks' parts overlap where the full tensors do not as core tells it."""
    writes = (
        lambda x: x[0:2].add_(x[2:4]),
        lambda x: x[:, 0].mul_(x[:, 1]),
        lambda x: x.add_(x.detach()),
        lambda x: x[:, 1:4].add_(x[:, 1:4]),
        lambda x: x[:, :-1].copy_(x[:, 1:]),
        lambda x: x.addcmul_(x, x),
    )
    x0 = torch.randn(SHAPE)
    for number, write in enumerate(writes):
        want = x0.clone()
        write(want)
        for layout in every_layout(mesh, 2):
            x = weft.distribute_tensor(x0, layout)
            write(x)
            same(x, want, f"{number} {layout}")


class Tied(torch.nn.Module):
    def __init__(self, table):
        super().__init__()
        self.register_buffer("across", table.t()[2])
        self.register_buffer("head", table[1:3])
        self.register_buffer("table", table)
        self.weight = torch.nn.Parameter(table)


def copies(mesh):
    """Copied together, a tensor and its views are one memory still, apart from the originals and from parameters."""
    x0 = torch.randn(SHAPE)
    for layout in [None, *every_layout(mesh, 2, partial=False)]:
        net = Tied(lay(x0, layout))
        twin = copy.deepcopy(net)
        with torch.no_grad():
            twin.head.add_(5)
            twin.across.mul_(2)
            twin.table[4].zero_()
        want = x0.clone()
        want[1:3] += 5
        want[:, 2] *= 2
        want[4] = 0
        for name, value in (("table", want), ("head", want[1:3]), ("across", want[:, 2]), ("weight", x0)):
            same(getattr(twin, name), value, f"{name} {layout}")
            assert getattr(twin, name).stride() == getattr(net, name).stride()
        same(net.table, x0, f"original {layout}", exact=True)
        alone = copy.deepcopy(net.across)
        alone.zero_()
        same(net.table, x0, f"original of a view {layout}", exact=True)
        assert not alone._is_view()


def saved_parts(mesh):
    """What autograd has saved of a part may not be written any more, through whichever tensor, as of a plain alias."""
    x0 = torch.randn(SHAPE)
    for layout in every_layout(mesh, 2, partial=False):
        x = lay(x0, layout)
        for write in (lambda x=x: x.mul_(2), lambda x=x: x[0].zero_(), lambda x=x: torch._foreach_add_([x], 1.0)):
            factor = torch.ones((), requires_grad=True)
            product = (weft.local_tensor(x) * factor).sum()
            write()
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                product.backward()


CASES = {f.__name__: f for f in (entries, refused, allowed, copies, saved_parts)}

results, test_case = cases_on_worlds(globals(), 2, 3)
