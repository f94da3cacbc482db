"""Pending sums of gradients: sent in few collectives while backward runs, there when anybody looks."""

import functools

import pytest
import torch
import weft
from support.cases import check, every_layout, meshes, on_worlds, run_cases, same, same_gradients
from torch import nn


def net(width=6, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth))).double()


MANY = 3 << 14  # a batch so large that it stays where it is, and weights are gathered instead


def every_axis(mesh):
    return tuple(mesh.axis_names) if len(mesh.axis_names) > 1 else mesh.axis_names[0]


def pair(mesh, batch=8, layouts=None, **sizes):
    """The plain net, and the same one replicated or laid out, with a batch for each, split over all axes."""
    plain = net(**sizes)
    x = torch.randn(batch, plain[0].in_features).double()
    sharded = weft.distribute_module(net(**sizes), layouts or {}, mesh=mesh)
    return (plain, x), (sharded, weft.distribute_tensor(x, (every_axis(mesh), None), mesh))


def gradients(trace):
    return [r for r in trace.rows if r.op == "gradient"]


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


def sent_while_backward_runs(mesh):
    """362 x 362 doubles and a bias fill the first bucket (1 MiB): it leaves before the next layer's backward."""
    (plain, x), (model, xs) = pair(mesh, batch=2048, width=362, depth=4)
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    per_axis = [r for r in gradients(trace) if r.axis == mesh.axis_names[0]]
    assert len(per_axis) == 2, f"{trace}"
    assert per_axis[0].bytes < per_axis[1].bytes
    same_gradients(model, plain)


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


def tied(mesh):
    """A leaf that is used several times in one graph is reduced once."""
    for split in (None, mesh.axis_names[0]):
        found = []
        for sharded in (False, True):
            torch.manual_seed(0)
            model = nn.ModuleDict({"embed": nn.Embedding(12, 6), "head": nn.Linear(6, 12, bias=False)}).double()
            model["head"].weight = model["embed"].weight
            ids = torch.arange(MANY).remainder(11).view(MANY // 8, 8)
            if sharded:
                weft.distribute_module(model, {"embed/weight": (split, None)}, mesh=mesh)
                ids = weft.distribute_tensor(ids, (every_axis(mesh), None), mesh)
            with weft.trace() as trace:
                hidden = model["embed"](ids)
                (model["head"](hidden.sin()).cos() + model["head"](hidden.cos()).sin()).sum().backward()
            found.append(model)
        same_gradients(found[1], found[0])
        kinds = [r.kind for r in gradients(trace)]
        assert kinds == (["reduce_scatter" if split else "all_reduce"] + ["all_reduce"])[: len(mesh.shape)], f"{trace}"


def accumulated(mesh):
    """Each micro-batch is as few collectives as the first one; .grad stays the tensor that it was."""
    for layouts in ({}, {".*weight": (mesh.axis_names[0], None), ".*bias": (mesh.axis_names[0],)}):
        (plain, x), (model, xs) = pair(mesh, batch=MANY, layouts=layouts)
        traces, kept = [], []
        for scale in (1.0, -2.0, 0.5):
            (plain(x).square().sum() * scale).backward()
            with weft.trace() as trace:
                (model(xs).square().sum() * scale).backward()
            traces.append(gradients(trace))
            kept.append([p.grad for p in model.parameters()])
            same_gradients(model, plain)
        assert len(traces[0]) == len(mesh.shape) and traces[0] == traces[1] == traces[2], traces
        for grads in kept[1:]:
            assert all(a is b for a, b in zip(grads, kept[0], strict=True))
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            assert p.grad._version == q.grad._version == 2


def accumulated_anyhow(mesh):
    """Zeroed in place, kept graphs, gradients given by hand, aliases and views taken before."""
    for layouts in ({}, {".*weight": (None, every_axis(mesh))}):
        runs = pair(mesh, layouts=layouts)
        seen = []
        for model, x in runs:
            loss = model(x).square().sum()
            loss.backward(retain_graph=True)
            weight = model[1].weight
            alias, view, row = weight.grad.detach(), weight.grad.t(), weight.grad[1:4]
            loss.backward(retain_graph=True)
            values = [alias * 1, view * 1, row * 1]
            model.zero_grad(set_to_none=False)
            loss.backward(retain_graph=True)
            model[0].weight.grad = model[0].weight.detach().clone()
            model[2].weight.grad = None
            loss.backward()
            values += [alias * 1, view * 1, row * 1]
            seen.append(values)
        same_gradients(runs[1][0], runs[0][0])
        for got, want in zip(seen[1], seen[0], strict=True):
            same(got, want)


def read_while_accumulated(mesh):
    """Hooks and views that look in the middle of the second pass find the sum so far; writes there stay."""
    for layouts in ({}, {".*weight": (mesh.axis_names[0], None)}):
        runs = pair(mesh, layouts=layouts)
        seen = []
        for model, x in runs:
            values = []
            model(x).square().sum().backward()
            alias = model[1].weight.grad.detach()[2:]
            identity = model[1].weight.grad

            def look(p, values=values, alias=alias, identity=identity):
                assert p.grad is identity
                values.append(alias * 1)
                values.append(p.grad * 1)
                p.grad.mul_(3)

            def zero(p):
                p.grad.zero_()

            model[1].weight.register_post_accumulate_grad_hook(look)
            model[2].weight.register_post_accumulate_grad_hook(zero)
            model[0].weight.register_hook(lambda g: g * 2)
            model(x).square().sum().backward()
            seen.append(values)
        same_gradients(runs[1][0], runs[0][0])
        for got, want in zip(seen[1], seen[0], strict=True):
            same(got, want)


def changed_before_accumulation(mesh):
    """What a hook on the node makes of a gradient on its way is what is added: a view, another tensor, itself."""
    changes = (lambda g: (g[0].t(),), lambda g: (g[0] + 1,), lambda g: (g[0].mul_(2),), lambda g: None)
    for change in changes:
        runs = pair(mesh)
        for model, x in runs:
            model(x).square().sum().backward()
            loss = model(x).square().sum()
            node = model[1].weight.view_as(model[1].weight).grad_fn.next_functions[0][0]
            node.register_prehook(change)
            loss.backward()
        same_gradients(runs[1][0], runs[0][0])


def twice_differentiable(mesh):
    """With create_graph the sum is a new tensor, as plain torch makes it."""
    runs = pair(mesh, layouts={".*weight": (mesh.axis_names[0], None)})
    for model, x in runs:
        model(x).sin().sum().backward()
        before = model[0].weight.grad
        model(x).sin().sum().backward(create_graph=True)
        assert model[0].weight.grad is not before
        grads = [p.grad for p in model.parameters()]
        model.zero_grad()
        sum(g.square().sum() for g in grads).backward()
    same_gradients(runs[1][0], runs[0][0])


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


CASES = (
    one_collective,
    sent_while_backward_runs,
    used_in_backward,
    scattered,
    scattered_while_backward_runs,
    every_split,
    averages,
    folded,
    tied,
    accumulated,
    accumulated_anyhow,
    read_while_accumulated,
    changed_before_accumulation,
    twice_differentiable,
    dropped,
    packed_as_they_come,
    after_an_error,
    memory_order,
)


def on_every_mesh(case, world):
    for mesh in meshes(world):
        case(mesh)


def every_case(world):
    return run_cases({f.__name__: functools.partial(on_every_mesh, f, world) for f in CASES})


results = on_worlds(every_case, 2, 3, 4)


@pytest.mark.parametrize("name", [f.__name__ for f in CASES])
def test_gradients(results, name):
    check(results, name)
