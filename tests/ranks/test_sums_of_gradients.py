"""Gradients of a tensor's several uses, which autograd's engine adds up: in place, and the same where it may not."""

import torch
import weft
from support.cases import cases_on_worlds, every_layout, same
from torch import nn


class Kept(torch.autograd.Function):
    """Gives its gradient on as it is, and keeps it where it is told to."""

    @staticmethod
    def forward(ctx, x, kept):
        ctx.kept = kept
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        if ctx.kept is not None:
            ctx.kept.append(grad)
        return grad, None


def of_uses(x, kept=None):
    """Three uses of what is made of x, whose gradients come in the order in which they are written."""
    h = x * 2
    return (h.exp() + h.cos()).sum() + Kept.apply(h, kept).sin().sum()


def ops_of(call):
    with torch.autograd.profiler.profile() as profile:
        call()
    return {e.key: e.count for e in profile.key_averages()}


def split(x, mesh):
    return weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh).detach().requires_grad_()


def in_place(mesh):
    """Two of three are added to the one that is there, as those of plain tensors are."""
    plain = torch.randn(6, 5).requires_grad_()
    x = split(plain.detach(), mesh)
    for leaf in (plain, x):
        h = leaf * 2
        loss = (h.exp() + h.cos() + h.sin()).sum()
        loss.backward(retain_graph=True)
        leaf.grad = None
        ops = ops_of(loss.backward)
        assert (ops.get("aten::add", 0), ops.get("aten::add_", 0)) == (0, 2), f"{ops}"
    same(x.grad, plain.grad)


def in_place_past_a_view(mesh):
    """Nor does a view of the first gradient, which was let go again, keep the second from being added to it."""
    plain = torch.randn(6, 3, 5).requires_grad_()
    x = weft.distribute_tensor(plain.detach(), (mesh.axis_names[0], None, None), mesh).detach().requires_grad_()
    for leaf in (plain, x):
        h = leaf * 2
        loss = (h + h.view(18, 5).cos().view(6, 3, 5)).exp().sum()
        loss.backward(retain_graph=True)
        leaf.grad = None
        ops = ops_of(loss.backward)
        assert (ops.get("aten::add", 0), ops.get("aten::add_", 0)) == (0, 1), f"{ops}"
    same(x.grad, plain.grad)


def held_by_one_rank(mesh):
    """What one rank alone holds is not written, and the ranks stay in step all the same."""
    plain = torch.randn(6, 5).requires_grad_()
    x = split(plain.detach(), mesh)
    kept = [] if weft.rank() == 0 else None
    of_uses(plain).backward()
    of_uses(x, kept).backward()
    same(x.grad, plain.grad)
    total = x.grad.sum()
    same(total, plain.grad.sum())
    if kept is not None:
        shard = weft.local_tensor(x)
        torch.testing.assert_close(weft.local_tensor(kept[0]), (shard * 2).cos())


class Negated(torch.autograd.Function):
    """Gives its gradient on as one that is negated where it is read, as gradients of imaginary parts are."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return torch._neg_view(-grad)


def negated_and_held_by_one_rank(mesh):
    """Nor do the ranks part where one of the two that are added up is negated where it is read."""
    torch.manual_seed(0)
    weight, batch = torch.randn(6, 6), torch.randn(12, 6)

    def used(h, x, kept, first, second):
        return first(h).sin().sum() + (x @ second(Kept.apply(h, kept))).cos().sum()

    for first, second in ((Negated.apply, torch.clone), (torch.clone, Negated.apply)):
        plain = weight.clone().requires_grad_()
        used(plain * 2, batch, None, first, second).backward()
        w = weft.distribute_tensor(weight, (None, None), mesh).requires_grad_()
        x = weft.distribute_tensor(batch, (mesh.axis_names[0], None), mesh)  # its gradient is a pending sum
        used(w * 2, x, [] if weft.rank() == 0 else None, first, second).backward()
        same(w.grad, plain.grad)
        same(w.grad.sum(), plain.grad.sum())


def laid_out_in_two_ways(mesh):
    """A pending gradient and a whole one: the sum is laid out as a sum out of place, in each layout of the leaf."""
    torch.manual_seed(0)
    weight, x = torch.randn(6, 6).double(), torch.randn(12, 6).double()
    for layout in every_layout(mesh, 2, partial=False):
        found = []
        for sharded in (False, True):
            w = weft.distribute_tensor(weight, layout) if sharded else weight.clone()
            batch = weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh) if sharded else x
            w = w.detach().requires_grad_()
            h = w * 3
            ((batch @ h).square().sum() + h.sin().sum() + (h.t() @ h).sum()).backward()
            found.append(w.grad)
        same(found[1], found[0], f"{layout.axes}")
        assert weft.layout_of(found[1]) == layout


def in_hooks(mesh):
    """What hooks make of a gradient between two nodes stays as it is while it is added to."""

    def changed(grad):
        half = grad / 2
        more = half + grad
        return half * more + grad

    found = []
    plain = torch.randn(6, 5)
    for x in (plain.clone().requires_grad_(), split(plain, mesh)):
        h = x * 2
        h.register_hook(changed)
        (h.exp() + h.cos()).sum().backward()
        found.append(x.grad)
    same(found[1], found[0])


def with_a_graph(mesh):
    """Gradients that have a history themselves are never added to in place."""
    found = []
    plain = torch.randn(6, 5).double()
    for x in (plain.clone().requires_grad_(), split(plain, mesh)):
        (grad,) = torch.autograd.grad(of_uses(x), x, create_graph=True)
        (grad.square().sum()).backward()
        found.append(x.grad)
    same(found[1], found[0])


def of_a_residual_net(mesh):
    """Weights on all ranks and the batch split, as data parallel training has them, in two passes."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.up, self.gate, self.down = (nn.Linear(8, 8).double() for _ in range(3))

        def forward(self, x):
            x = x + self.up(x)
            return x + self.down(nn.functional.silu(self.gate(x)) * x)

    plain, model = Net(), weft.distribute_module(Net(), {}, mesh=mesh)
    x = torch.randn(12, 8).double()
    for _ in range(2):
        plain(x).square().mean().backward()
        model(weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh)).square().mean().backward()
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            same(p.grad, q.grad)


def of_one_gradient_twice(mesh):
    """A gradient that goes to two places is added to in neither while the other still holds it."""
    found = []
    plain = torch.randn(6, 5)
    for x in (plain.clone().requires_grad_(), split(plain, mesh)):
        h, k = x * 2, x * 3
        h.retain_grad()
        ((h + k).exp() + h.sin() + k.cos()).sum().backward()
        found.append((x.grad, h.grad))
    for got, want in zip(*found[::-1], strict=True):
        same(got, want)


def of_a_sparse_and_a_dense_use(mesh):
    """A sparse gradient is added to a dense one, which one rank may hold, in either order."""
    plain, indices = torch.randn(6, 4).double(), torch.tensor([0, 3, 3, 5])
    for dense_first in (False, True):
        found = []
        for sharded in (False, True):
            x = (split(plain, mesh) if sharded else plain.clone()).requires_grad_()
            h = Kept.apply(x * 2, [] if weft.rank() == 0 else None)
            uses = [h.cos().sum(), nn.functional.embedding(indices, x, sparse=True).sin().sum(), x.exp().sum()]
            sum(uses[:: -1 if dense_first else 1]).backward()
            found.append(x.grad.to_dense() if x.grad.is_sparse else x.grad)
        same(found[1], found[0])


class AddsInBackward(torch.autograd.Function):
    """Adds to its gradient in place, as a user may, with the sum of what is added still pending."""

    @staticmethod
    def forward(ctx, x, more):
        ctx.more = more
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone()
        layout = weft.layout_of(grad) if weft.is_sharded(grad) else None
        added = grad.add_(ctx.more.t() @ ctx.more)
        assert layout is None or weft.layout_of(added) == layout
        return added, None


def by_the_user(mesh):
    """An add_ that the program asks for in backward keeps the layout of what it writes."""
    found = []
    plain, more = torch.randn(5, 5).double(), torch.randn(12, 5).double()
    rows = weft.distribute_tensor(more, (mesh.axis_names[0], None), mesh)
    for x, each in ((plain.clone().requires_grad_(), more), (split(plain, mesh), rows)):
        AddsInBackward.apply(x, each).sin().sum().backward()
        found.append(x.grad)
    same(found[1], found[0])


CASES = {
    f.__name__: f
    for f in (
        in_place,
        in_place_past_a_view,
        held_by_one_rank,
        negated_and_held_by_one_rank,
        laid_out_in_two_ways,
        in_hooks,
        with_a_graph,
        of_a_residual_net,
        of_one_gradient_twice,
        of_a_sparse_and_a_dense_use,
        by_the_user,
    )
}


results, test_sums = cases_on_worlds(globals(), 2, 3)
