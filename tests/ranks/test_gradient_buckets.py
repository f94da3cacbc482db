"""Pending sums of gradients: sent in few collectives while backward runs, there when anybody looks."""

import functools

import pytest
import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same, same_gradients
from torch import nn


def net(width=6, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))


def pair(mesh, batch=8, **sizes):
    """The plain net, and the same one replicated, with a batch for each."""
    plain = net(**sizes)
    x = torch.randn(batch, plain[0].in_features)
    sharded = weft.distribute_module(net(**sizes), {}, mesh=mesh)
    split = tuple(mesh.axis_names) if len(mesh.axis_names) > 1 else mesh.axis_names[0]
    return (plain, x), (sharded, weft.distribute_tensor(x, (split, None), mesh))


def gradients(trace):
    return [r for r in trace.rows if r.op == "gradient"]


def one_collective(mesh):
    (plain, x), (model, xs) = pair(mesh, batch=256)  # large enough that no activation is gathered instead
    plain(x).square().sum().backward()
    with weft.trace() as trace:
        model(xs).square().sum().backward()
    rows = gradients(trace)
    assert [r.kind for r in rows] == ["all_reduce"] * len(mesh.shape)
    assert [r.axis for r in rows] == list(mesh.axis_names)
    assert rows[0].path == "2/bias and 5 more"
    size = sum(p.numel() * 4 for p in model.parameters())
    assert rows[0].bytes == 2 * (mesh.shape[0] - 1) * size // mesh.shape[0]
    same_gradients(model, plain)


def sent_while_backward_runs(mesh):
    """512 x 512 floats fill the first bucket (1 MiB): it leaves before the next layer's backward."""
    (plain, x), (model, xs) = pair(mesh, batch=2048, width=512, depth=4)
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


def accumulated(mesh):
    (plain, x), (model, xs) = pair(mesh)
    for m, batch in ((plain, x), (model, xs)):
        for scale in (1.0, -2.0, 0.5):
            (m(batch).square().sum() * scale).backward()
    same_gradients(model, plain)


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


def after_an_error(mesh):
    """A pass that fails after some gradients leaves nothing behind that would part the ranks."""
    (plain, x), (model, xs) = pair(mesh)

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


CASES = (one_collective, sent_while_backward_runs, used_in_backward, accumulated, dropped, after_an_error, memory_order)


def every_case(world):
    return run_cases({f.__name__: functools.partial(f, meshes(world)[-1]) for f in CASES})


results = on_worlds(every_case, 2, 4)


@pytest.mark.parametrize("name", [f.__name__ for f in CASES])
def test_gradients(results, name):
    check(results, name)
