"""Gradients of sharded leaves: users' hooks, optimizers in hooks, unfreezing, deepcopy, accumulation, ties."""

import copy

import pytest
import torch
import weft
from ranks.hooked import batch, distributed, loss_of, net
from support.cases import cases_on_worlds, every_layout, same, same_gradients, whole
from torch import nn


def gradient_layout_at_once(mesh):
    """It has its layout in the user's own hooks already; views, in-place, expanded gradients among them."""
    for layout in every_layout(mesh, 2, partial=False):
        uses = (
            lambda p, x: (x @ p.t()).sum(),
            lambda p, x: p.sum(),
            lambda p, x: p.expand(3, 7, 5).sum(),
            lambda p, x: (p.t() * 2).square().sum(),
            lambda p, x: p[2:5].exp().sum() + p.mean(),
            lambda p, x: (x @ p[:, :].transpose(0, 1)).relu().mean(),
        )
        for number, use in enumerate(uses):
            plain = torch.randn(7, 5, dtype=torch.float64).requires_grad_()
            use(plain, batch()).backward()
            p = weft.distribute_variable(plain.detach().requires_grad_(), layout)
            seen = []
            p.register_post_accumulate_grad_hook(lambda p, seen=seen: seen.append(weft.layout_of(p.grad)))
            use(p, batch(mesh)).backward()
            assert weft.layout_of(p.grad) == layout and seen == [layout], (seen, weft.layout_of(p.grad))
            same(p.grad, plain.grad, f"{layout.axes}, use {number}")


def tensor_hook(mesh):
    """A user's tensor hook, registered before or after distribution: called once with the global gradient."""
    for before in (True, False):
        models, calls = [], []
        for sharded in (False, True):
            model = net()
            if sharded and not before:
                distributed(mesh, model)
            log = []
            calls.append(log)
            for p in model.parameters():
                p.register_hook(lambda g, log=log: log.append(tuple(g.shape)))
                p.register_hook(lambda g: g * 3)
            model[0].weight.register_post_accumulate_grad_hook(lambda p, log=log: log.append("after"))
            if sharded and before:
                distributed(mesh, model)
            for _ in range(2):
                loss_of(model, batch(mesh if sharded else None)).backward()
            models.append(model)
        assert calls[0] == calls[1], calls
        same_gradients(models[1], models[0])


def hook_removed(mesh):
    model = distributed(mesh, net())
    handle = model[0].weight.register_hook(lambda g: g * 100)
    loss_of(model, batch(mesh)).backward()
    handle.remove()
    model.zero_grad()
    loss_of(model, batch(mesh)).backward()
    plain = net()
    loss_of(plain, batch()).backward()
    same_gradients(model, plain)


def hook_keeps_and_writes(mesh):
    """What a hook has kept of gradients and writes to later in the pass is another value than `.grad`."""
    models = []
    for sharded in (False, True):
        model, kept = net(), []
        if sharded:
            distributed(mesh, model)

        def keep(g, kept=kept):
            for k in kept:
                k.mul_(2)
            kept.append(g)

        for p in model.parameters():
            p.register_hook(keep)
        loss_of(model, batch(mesh if sharded else None)).backward()
        models.append((model, kept))
    same_gradients(models[1][0], models[0][0])
    for got, want in zip(models[1][1], models[0][1], strict=True):
        same(got, want)


def hook_on_intermediate(mesh):
    """A hook on a non-leaf, retain_grad, a full backward hook on a module."""
    grads = []
    for sharded in (False, True):
        model, seen = net(), []
        if sharded:
            distributed(mesh, model)
        model[2].register_full_backward_hook(lambda m, i, o, seen=seen: seen.extend([i[0], o[0]]))
        model[1].register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
        h = model[:2](batch(mesh if sharded else None))
        h.retain_grad()
        h.register_hook(lambda g, seen=seen: seen.append(g))
        model[2:](h).square().sum().backward()
        grads.append([*seen, h.grad])
    assert len(grads[0]) == len(grads[1])
    for got, want in zip(grads[1], grads[0], strict=True):
        same(got, want)


def optimizer_in_hook(mesh):
    """torch's recipe: step each parameter in its post-accumulate hook and drop the gradient."""
    models = []
    for sharded in (False, True):
        model = net()
        if sharded:
            distributed(mesh, model)
        steps = {p: torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in model.parameters()}

        def step(p, steps=steps):
            steps[p].step()
            steps[p].zero_grad()

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(step)
        for _ in range(3):
            loss_of(model, batch(mesh if sharded else None)).backward()
        assert all(p.grad is None for p in model.parameters())
        models.append(model)
    for p, q in zip(models[1].parameters(), models[0].parameters(), strict=True):
        same(p, q)


def unfreezing(mesh):
    models = []
    for sharded in (False, True):
        model = net()
        for p in model[:2].parameters():
            p.requires_grad_(False)
        if sharded:
            distributed(mesh, model)
        loss_of(model, batch(mesh if sharded else None)).backward()
        assert model[0].weight.grad is None
        model.requires_grad_(True)
        loss_of(model, batch(mesh if sharded else None)).backward()
        model[2].requires_grad_(False)
        loss_of(model, batch(mesh if sharded else None)).backward()
        models.append(model)
    same_gradients(models[1], models[0])


def deepcopied(mesh):
    """A copy trains by itself, and so does a Parameter's copy; layouts and paths go with it."""
    models = []
    for sharded in (False, True):
        model = net()
        if sharded:
            distributed(mesh, model)
        loss_of(model, batch(mesh if sharded else None)).backward()
        copied = copy.deepcopy(model)
        if sharded:
            for p, q in zip(model.parameters(), copied.parameters(), strict=True):
                assert p is not q and type(q) is nn.Parameter and weft.layout_of(p) == weft.layout_of(q)
                assert weft.path_of(p) == weft.path_of(q)
        copied.zero_grad()
        optimizer = torch.optim.SGD(copied.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(copied, batch(mesh if sharded else None)).backward()
            optimizer.step()
        single = copy.deepcopy(model[0].weight)
        single.square().sum().backward()
        models.append((model, copied, single))
    for got, want in zip(models[1][:2], models[0][:2], strict=True):
        same_gradients(got, want)
        for p, q in zip(got.parameters(), want.parameters(), strict=True):
            same(p, q)
    same(models[1][2].grad, models[0][2].grad)


def backward_hook_changes_dtype_or_fails(mesh):
    """An error in a user's hook comes out on every rank, and the next backward works."""

    def fail(grad):
        raise KeyError("from the hook")

    model = distributed(mesh, net())
    handle = model[0].weight.register_hook(fail)
    with pytest.raises(KeyError, match="from the hook"):
        loss_of(model, batch(mesh)).backward()
    handle.remove()
    model.zero_grad()
    plain = net()
    loss_of(model, batch(mesh)).backward()
    loss_of(plain, batch()).backward()
    same_gradients(model, plain)


def distributed_again(mesh):
    """Redistribution of a parameter's value with a hook and a gradient in place."""
    model, plain = net(), net()
    loss_of(model, batch()).backward()
    loss_of(plain, batch()).backward()
    distributed(mesh, model)
    same_gradients(model, plain)
    loss_of(model, batch(mesh)).backward()
    loss_of(plain, batch()).backward()
    same_gradients(model, plain)
    assert torch.equal(whole(model[0].weight), plain[0].weight)


CASES = {
    f.__name__: f
    for f in (
        gradient_layout_at_once,
        tensor_hook,
        hook_removed,
        hook_keeps_and_writes,
        hook_on_intermediate,
        optimizer_in_hook,
        unfreezing,
        deepcopied,
        backward_hook_changes_dtype_or_fails,
        distributed_again,
    )
}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, 4, mesh=-1)
