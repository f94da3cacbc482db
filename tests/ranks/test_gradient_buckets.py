"""Pending sums of gradients: sent in few collectives while backward runs, there when anybody looks."""

import pytest
import torch
import weft
from ranks.buckets import MANY, every_axis, gradients, pair
from support.cases import cases_on_worlds, every_layout, same, same_gradients


def one_collective(mesh):
    (plain, x), (model, xs) = pair(mesh, batch=MANY)
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    rows = gradients(trace)
    assert [r.kind for r in rows] == ["all_reduce"] * len(mesh.shape)
    assert [r.axis for r in rows] == list(mesh.axis_names)
    assert rows[0].path == "2/bias and 5 more"
    size = sum(p.numel() * 8 for p in model.parameters())
    assert rows[0].bytes == 2 * (mesh.shape[0] - 1) * size // mesh.shape[0]
    same_gradients(model, plain)


def sent_by(mesh, depth):
    """What a net of layers of 362 x 362 doubles and a bias, 1 MiB each, sends over the first axis; and the trace."""
    (plain, x), (model, xs) = pair(mesh, batch=2048, width=362, depth=depth)
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    same_gradients(model, plain)
    return [r for r in gradients(trace) if r.axis == mesh.axis_names[0]], trace


def sent_while_backward_runs(mesh):
    """One layer fills the first bucket (1 MiB): it leaves before the next layer's backward."""
    per_axis, trace = sent_by(mesh, depth=4)
    assert len(per_axis) == 2, f"{trace}"
    assert per_axis[0].bytes < per_axis[1].bytes


def small_beside_what_went_before(mesh):
    """Of 12 MiB a pass sends the first one, then 4 at a time: little is left when backward ends."""
    per_axis, trace = sent_by(mesh, depth=12)
    assert len(per_axis) == 4, f"{trace}"


def used_in_backward(mesh):
    """A post-accumulate hook sees the whole sum."""
    (plain, x), (model, xs) = pair(mesh)
    want, got = {}, {}
    for m, seen in ((plain, want), (model, got)):
        for name, p in m.named_parameters():
            p.register_post_accumulate_grad_hook(lambda p, name=name, seen=seen: seen.update({name: p.grad.sum()}))
    plain(x).square().sum().backward()
    model(xs).square().sum().backward()
    for name in want:
        same(got[name], want[name], name)
    same_gradients(model, plain)


def scattered(mesh):
    """Leaves split over the axis that splits the batch: one reduce-scatter for all, then a sum over the other axis."""
    layouts = {".*weight": (mesh.axis_names[0], None), ".*bias": (mesh.axis_names[0],)}
    (plain, x), (model, xs) = pair(mesh, batch=MANY, layouts=layouts, width=7, depth=4)
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    kinds = ["reduce_scatter", "all_reduce"][: len(mesh.shape)]
    assert [(r.kind, r.axis) for r in gradients(trace)] == list(zip(kinds, mesh.axis_names, strict=True)), f"{trace}"
    assert gradients(trace)[0].path == "3/bias and 7 more"
    size = sum(p.numel() * 8 for p in model.parameters())
    assert gradients(trace)[0].bytes == (mesh.shape[0] - 1) * size // mesh.shape[0]
    same_gradients(model, plain)


def scattered_while_backward_runs(mesh):
    """363 x 363 doubles fill the first bucket of weights (1 MiB); the rest, and the biases, leave at the end."""
    layouts = {".*weight": (None, every_axis(mesh))}
    (plain, x), (model, xs) = pair(mesh, batch=2048, layouts=layouts, width=363, depth=4)
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    rows = [r for r in gradients(trace) if r.axis == mesh.axis_names[0]]
    assert [r.kind for r in rows] == ["reduce_scatter", "all_reduce", "reduce_scatter"], f"{trace}"
    order = [r.op for r in trace.rows]
    first = order.index("gradient")
    assert any(op != "gradient" for op in order[first:]), "it left after all of backward"
    same_gradients(model, plain)


def every_split(mesh):
    """Leaves split in every way, in one bucket for each way there: uneven parts, any dimension, any memory order."""
    x = torch.randn(MANY, 7).double()
    found = []
    layouts = [layout for layout in every_layout(mesh, 2, partial=False) for _ in range(4)]
    weights = [(torch.randn(7, 5) if i % 2 else torch.randn(5, 7).t()).double() for i in range(len(layouts))]
    for sharded in (False, True):
        leaves, loss = [], 0
        xs = weft.distribute_tensor(x, (every_axis(mesh), None), mesh) if sharded else x
        for weight, layout in zip(weights, layouts, strict=True):
            w = weft.distribute_tensor(weight, layout) if sharded else weight
            leaves.append(w.detach().clone().requires_grad_())
            loss = loss + (xs @ leaves[-1]).sin().sum()
        with weft.trace() as trace:
            loss.backward()
        found.append(leaves)
    for layout, p, q in zip(layouts, found[1], found[0], strict=True):
        assert weft.layout_of(p.grad) == layout
        assert p.grad.stride() == q.grad.stride() == p.stride()
        local, shard = weft.local_tensor(p.grad), weft.local_tensor(p)
        assert local.shape == shard.shape and (local.numel() < 2 or local.stride() == shard.stride()), layout
        same(p.grad, q.grad, f"{layout.axes}")
    rows = gradients(trace)
    assert all(r.kind in ("reduce_scatter", "all_reduce") for r in rows), f"{trace}"
    assert len(rows) == {1: 2, 2: 10}[len(mesh.shape)], f"{trace}"


def averages(mesh):
    """A pending average, scattered."""
    mean = {mesh.axis_names[0]: "avg"}
    layout = weft.TensorLayout((mesh.axis_names[0], None), mesh)
    x = torch.randn(5, 3)
    leaves = [weft.distribute_tensor(x, layout).detach().requires_grad_() for _ in range(2)]
    mine = x * (1 + weft.rank())
    grad = weft.from_local(mine, weft.TensorLayout((None, None), mesh, partial=mean), (5, 3))
    with weft.trace() as trace:
        torch.autograd.backward([leaf.view_as(leaf) for leaf in leaves], [grad, grad])
    assert [r.kind for r in trace.rows] == ["reduce_scatter"], f"{trace}"
    strides = mesh.shape[1] if len(mesh.shape) > 1 else 1
    first = weft.rank() % strides
    ranks = [first + strides * i for i in range(mesh.shape[0])]
    want = x * (1 + sum(ranks) / len(ranks))
    for leaf in leaves:
        torch.testing.assert_close(weft.full_tensor(leaf.grad), want)


def folded(mesh):
    """A leaf whose rows are split within each of their blocks, as a fold of a split dimension leaves them."""
    axis = mesh.axis_names[0]
    unfolded = weft.distribute_tensor(torch.randn(3, 2 * mesh.shape[0], 2), (None, axis, None), mesh)
    leaves = [unfolded.flatten(0, 1).detach().clone().requires_grad_() for _ in range(2)]
    shape = leaves[0].shape
    part = torch.arange(shape.numel(), dtype=torch.float).view(shape)
    pending = weft.TensorLayout((None, None), mesh, partial={axis: "sum"})
    grad = weft.from_local(part, pending, tuple(shape))
    with weft.trace() as trace:
        torch.autograd.backward([leaf.view_as(leaf) for leaf in leaves], [grad, grad])
    assert [r.kind for r in trace.rows] == ["reduce_scatter"], f"{trace}"
    for leaf in leaves:
        assert weft.layout_of(leaf.grad) == weft.layout_of(leaf) != weft.TensorLayout((axis, None), mesh)
        same(leaf.grad, part * mesh.shape[0])


def dropped(mesh):
    """Nobody waits for a gradient that was thrown away, and the next pass is right."""
    (plain, x), (model, xs) = pair(mesh)
    hooks = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in model.parameters()]
    model(xs).square().sum().backward()
    assert all(p.grad is None for p in model.parameters())
    for hook in hooks:
        hook.remove()
    plain(x).square().sum().backward()
    model(xs).square().sum().backward()
    same_gradients(model, plain)


def packed_as_they_come(mesh):
    """Large gradients are copied when they come, into a buffer of the last pass's size: right, too small, too large."""
    for layouts in ({}, {"[12]/weight": (None, mesh.axis_names[0])}):
        for width, depth in ((300, 5), (300, 5), (240, 9), (8, 3), (300, 5)):
            (plain, x), (model, xs) = pair(mesh, batch=2048, layouts=layouts, width=width, depth=depth)
            plain(x).square().sum().backward()
            model(xs).square().sum().backward()
            same_gradients(model, plain)


def after_an_error(mesh):
    """A pass that fails after some gradients leaves nothing behind that would part the ranks."""
    (plain, x), (model, xs) = pair(mesh, layouts={"1/weight": (mesh.axis_names[0], None)})
    model(xs).square().sum().backward()

    def fail(grad):
        raise ValueError("stop")

    hook = model[0].weight.register_hook(fail)
    with pytest.raises(ValueError, match="stop"):
        model(xs).square().sum().backward()
    hook.remove()
    for p in model.parameters():
        p.grad = None
    plain(x).square().sum().backward()
    model(xs).square().sum().backward()
    same_gradients(model, plain)


def memory_order(mesh):
    """A transposed weight's gradient has its strides, as AccumulateGrad promises."""
    torch.manual_seed(0)
    weight, x = torch.randn(6, 4).t(), torch.randn(8, 6)
    plain = weight.detach().requires_grad_()
    leaf = weft.distribute_tensor(weight, (None, None), mesh).detach().requires_grad_()
    (x @ plain.t()).square().sum().backward()
    (weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh) @ leaf.t()).square().sum().backward()
    same(leaf.grad, plain.grad)
    assert leaf.grad.stride() == plain.grad.stride() == leaf.stride()


CASES = {
    f.__name__: f
    for f in (
        one_collective,
        sent_while_backward_runs,
        small_beside_what_went_before,
        used_in_backward,
        scattered,
        scattered_while_backward_runs,
        every_split,
        averages,
        folded,
        dropped,
        packed_as_they_come,
        after_an_error,
        memory_order,
    )
}


results, test_gradients = cases_on_worlds(globals(), 2, 3, 4, mesh="every")
