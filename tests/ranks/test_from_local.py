"""`from_local`: the whole has one stride order on all ranks, whatever the ranks' parts say."""

import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same


def order_of_the_first(mesh):
    """A part of one row says nothing about how the rows lie."""
    n = weft.world_size()
    rows = 2 if weft.rank() + 1 < n else 1
    start = 2 * weft.rank()
    columns = torch.arange(2.0 * (2 * n - 1)).reshape(2, -1)
    part = columns[:, start : start + rows].clone().t()
    x = weft.from_local(part, weft.TensorLayout(("a", None), mesh), columns.t().shape)
    assert x.stride() == columns.t().stride(), x.stride()
    same(x, columns.t())
    same(x.t().reshape(-1), columns.reshape(-1))
    assert x.t().view(-1).shape == (columns.numel(),)


def one_row_each(mesh):
    """No part says how the rows lie: torch's own reading of equal strides, and row-major where it is told."""
    n = weft.world_size()
    columns, axis = torch.arange(3.0 * n).reshape(3, n), ("a", None)
    x = weft.from_local(columns[:, weft.rank() : weft.rank() + 1].clone().t(), axis, device_mesh=mesh)
    assert x.stride() == (1, n)
    same(x, columns.t())
    x = weft.from_local(torch.full((1, 3), float(weft.rank())), axis, device_mesh=mesh)
    assert x.stride() == (3, 1)
    same(x, torch.arange(float(n))[:, None].expand(n, 3))


def parts_that_contradict(mesh):
    """The first rank's order: no value depends on it. Parts that lie otherwise are copied."""
    n = weft.world_size()
    full = torch.arange(8.0 * n).reshape(4 * n, 2)
    rows = full[4 * weft.rank() : 4 * weft.rank() + 4].clone()
    part = rows.t().contiguous().t() if weft.rank() == 1 else rows
    x = weft.from_local(part, ("a", None), device_mesh=mesh)
    assert x.stride() == (2, 1)
    same(x.view(-1), full.view(-1))
    part.zero_()
    same(x, torch.where(torch.arange(4 * n)[:, None] // 4 == 1, full, 0.0))


def gaps(mesh):
    n = weft.world_size()
    full = torch.arange(6.0 * n).reshape(3, 2 * n)
    wide = torch.zeros(3, 2, 5)
    wide[..., 0] = full[:, 2 * weft.rank() : 2 * weft.rank() + 2]
    x = weft.from_local(wide[..., 0], (None, "a"), device_mesh=mesh)
    assert x.stride() == (2 * n, 1)
    same(x, full)
    x = weft.from_local(torch.tensor(2.0).expand(3, 2), (None, "a"), device_mesh=mesh)
    assert x.stride() == (2 * n, 1)
    same(x, torch.full((3, 2 * n), 2.0))


def empty_parts(mesh):
    part = torch.ones(4, 1 if weft.rank() == 0 else 0).t()
    x = weft.from_local(part, ("a", None), (1, 4), mesh)
    assert x.shape == (1, 4) and x.view(-1).shape == (4,)
    same(x, torch.ones(1, 4))
    x = weft.from_local(torch.ones(0, 3), ("a", None), device_mesh=mesh)
    assert x.shape == (0, 3) and x.stride() == (3, 1)
    assert weft.from_local(torch.ones(()), (), device_mesh=mesh).shape == ()


def gradients_of_parts(mesh):
    """Each rank's gradient lies as it likes; the global one's lies as the tensor."""
    n = weft.world_size()
    x = weft.distribute_tensor(torch.ones(4 * n, 3), ("a", None), mesh).requires_grad_()
    strides = []
    x.register_hook(lambda grad: strides.append(grad.stride()))
    head = torch.full((4, 3), float(weft.rank()))
    weft.local_tensor(x).backward(head.t().contiguous().t() if weft.rank() == 1 else head)
    assert strides == [(3, 1)]
    same(x.grad, (torch.arange(4 * n) // 4).float()[:, None].expand(4 * n, 3))


CASES = {
    f.__name__: f
    for f in (order_of_the_first, one_row_each, parts_that_contradict, gaps, empty_parts, gradients_of_parts)
}


def every_case(world):
    mesh = meshes(world)[0]
    return run_cases({name: lambda f=f: f(mesh) for name, f in CASES.items()})


results = on_worlds(every_case, 2, 3)


def test_strides(results):
    for name in CASES:
        check(results, name)


def two_axes():
    """Parts split over both axes: only the mesh's first rank has two of both."""
    mesh = weft.DeviceMesh((2, 2), ("a", "b"), device_type="cpu")
    full = torch.arange(9.0).reshape(3, 3).t()
    row, column = (2 * c for c in divmod(weft.rank(), 2))
    x = weft.from_local(full[row : row + 2, column : column + 2].t().clone().t(), ("a", "b"), device_mesh=mesh)
    return x.stride(), torch.equal(weft.full_tensor(x), full)


def test_two_axes(ranks4):
    assert ranks4(two_axes) == [((1, 3), True)] * 4
