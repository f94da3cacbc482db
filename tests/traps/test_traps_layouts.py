"""Layouts over two axes, redistribution, views and writes across shards."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import weft

sys.path.insert(0, str(Path(__file__).parent))

from everywhere import cases_in, everywhere, lay  # noqa: E402
from support.cases import cases_on_worlds, every_layout, same, whole  # noqa: E402

torch.manual_seed(5)
X = torch.randn(7, 5).mul(64).round() / 64  # sums of pending parts are exact


def trap13_writes_through_views(mesh):
    """More of them in tests/ranks/test_inplace_views.py."""
    source = torch.randn(3, 5)
    for write in (
        lambda x: x[2:5].zero_(),
        lambda x: x[2:5].copy_(source),
        lambda x: x[3].add_(1),
        lambda x: x[:, 1:3].mul_(2),
        lambda x: x.t()[1:4].fill_(3),
        lambda x: x.narrow(0, 4, 3).neg_(),
        lambda x: x[1:6:2].add_(source),
        lambda x: x.view(-1)[4:9].zero_(),
        lambda x: x.__setitem__((slice(2, 5), 1), 7.0),
        lambda x: x.__setitem__((Ellipsis, -1), 7.0),
        lambda x: x.detach()[2:5].zero_(),
        lambda x: x.select(0, 6).exp_(),
        lambda x: x.diagonal().zero_(),
    ):
        for layout in every_layout(mesh, 2):
            x, plain = lay(X, layout), X.clone()
            kept, view = x, x[1:6]  # a view taken before sees the write
            write(x)
            write(plain)
            same(kept, plain, f"{layout}")
            same(view, plain[1:6], f"view, {layout}")

    def differentiable(x, y):
        z = x * 1
        z[2:5] = y * 2
        z[:, 1].mul_(3)
        return z.square()

    everywhere(mesh, differentiable, X, source)


def trap17_every_pair_of_layouts(mesh):
    """More shapes and meshes, at random: tests/redistribute/redistribute_test.cpp."""
    x = torch.arange(30.0).view(5, 6)
    layouts = every_layout(mesh, 2)
    for source in layouts:
        for target in layouts:
            got = weft.distribute_tensor(lay(x, source), target)
            same(got, x, f"{source} to {target}")
            assert weft.layout_of(got) == target
            if not target.partial:
                fresh = weft.local_tensor(weft.distribute_tensor(x, target))
                assert torch.equal(weft.local_tensor(got), fresh), f"{source} to {target}"


def trap18_one_dimension_split_by_both_axes(mesh):
    """Uneven, empty parts too, one axis inside the other."""
    for rows in (1, 3, 5, 6, 7, 9):
        x = torch.arange(rows * 2.0).view(rows, 2)
        for order in (mesh.axis_names, mesh.axis_names[::-1]):
            for target in every_layout(mesh, 2, partial=False):
                nested = weft.distribute_tensor(x, (order, None), mesh)
                same(nested, x)
                same(weft.distribute_tensor(nested, target), x, f"{order} to {target}")
                back = weft.distribute_tensor(weft.distribute_tensor(x, target), (order, None), mesh)
                assert torch.equal(weft.local_tensor(back), weft.local_tensor(nested)), f"{target} to {order}"


def trap19_strided_shards(mesh):
    """What a flattened or unflattened split would be under two axes, uneven."""
    for f in (
        lambda t: t.flatten(),
        lambda t: t.flatten(0, 1) * 2,
        lambda t: t.transpose(0, 1).flatten(1) * 2,
        lambda t: t.flatten(1).sum(0),
        lambda t: t.flatten(0, 1).unflatten(0, (3, 5)).sum(1),
        lambda t: (t.flatten(0, 1) @ torch.ones(4, 2)).view(3, 5, 2),
        lambda t: t.permute(2, 0, 1).reshape(4, 15).softmax(1),
        lambda t: t.unsqueeze(2).expand(3, 5, 2, 4)[:, 1:4].mT.flatten(1, 2),  # a view of what is expanded
        lambda t: t.view(3, 5, 2, 2).view(5, 12) * 2,  # five and twelve fold across each other
    ):
        everywhere(mesh, f, torch.randn(3, 5, 4), pending=False)


def trap20_redistribution_backward(mesh):
    """The gradient of a re-laid value is the gradient, whatever the two layouts: never a sum over replicas."""
    head = torch.linspace(-1, 2, 35).view(7, 5)
    layouts = every_layout(mesh, 2)
    for source in layouts:
        for target in layouts:
            for back in (layouts[0], layouts[1], layouts[-1]):
                x = lay(X, source).requires_grad_()
                y = weft.distribute_tensor(x * 2, target)
                y.backward(lay(head, back))
                same(x.grad, 2 * head, f"{source} to {target}, gradient {back}")


def trap21_to_and_from_local(mesh):
    """The gradient of local parts; a replicated part that goes into a column-split weight."""
    weight = torch.randn(4, 5)
    plain = X.clone().requires_grad_()
    (plain @ weight.t()).square().sum().backward()
    axis = mesh.axis_names[-1]
    for layout in ((axis, None), (None, axis), (None, None)):
        part = X.clone().requires_grad_()
        x = weft.from_local(part, (None, None), device_mesh=mesh)
        (x @ weft.distribute_tensor(weight, layout, mesh).t()).square().sum().backward()
        same(part.grad, plain.grad, f"{layout}")
    for layout in every_layout(mesh, 2, partial=False):
        x = weft.distribute_tensor(X, layout).requires_grad_()
        part = weft.local_tensor(x * 2)
        if part.numel():
            part.square().sum().backward()
        else:
            part.sum().backward()
        # Each part is one rank's own: replicas all say the same.
        same(x.grad, 8 * X, f"{layout}")
    pending = weft.TensorLayout((None, None), mesh, {axis: "sum"})
    part = (X / mesh.axis_size(axis)).requires_grad_()
    weft.from_local(part, pending).square().sum().backward()
    same(part.grad, 2 * X)


def trap34_axes_of_one(mesh):
    thin = weft.DeviceMesh((1, *mesh.shape, 1), ("first", *mesh.axis_names, "last"), device_type="cpu")
    every = ("first", *mesh.axis_names, "last")
    for axes in ((every, None), (None, every), ("first", every[1:]), (every[:-1], "last")):
        x = weft.distribute_tensor(X, axes, thin)
        same(x.softmax(0) @ x.t(), X.softmax(0) @ X.t(), f"{axes}")
        same(weft.distribute_tensor(x, weft.TensorLayout((None, every), thin)), X)


def trap35_meshes_of_some_of_the_ranks(mesh):
    """Refused, alike on all ranks; a mesh of all whose second axis stays unused does what a part would."""
    n = dist.get_world_size()
    for ranks in ([0], list(range(n - 1))):
        part = weft.DeviceMesh((len(ranks),), ("a",), ranks, device_type="cpu")
        with pytest.raises(ValueError, match="covers the whole world"):
            weft.distribute_tensor(X, ("a", None), part)
    x = weft.distribute_tensor(X, (mesh.axis_names[-1], None), mesh)
    same(x.cumsum(0) + x.flip(0), X.cumsum(0) + X.flip(0))
    assert whole(x.sum()).shape == ()


CASES = cases_in(globals())

results, test_trap = cases_on_worlds(globals(), 2, 4, mesh=-1, timeout=200)
