"""Gradients of leaves: accumulated, of plain and tied ones, by autograd.grad, of a part of the graph."""

import gc

import torch
import weft
from ranks.hooked import batch, distributed, loss_of, net
from support.cases import cases_on_worlds, every_layout, same, same_gradients
from torch import nn
from torch.autograd import forward_ad


def accumulation(mesh):
    """Several backward passes, one graph kept, gradients set to None or to zero or given, a manual .grad."""
    models = []
    for sharded in (False, True):
        model = net()
        if sharded:
            distributed(mesh, model)
        x = batch(mesh if sharded else None)
        loss = loss_of(model, x)
        loss.backward(retain_graph=True)
        loss.backward()
        loss_of(model, x * 2).backward()
        model[0].weight.grad.mul_(0.5)
        model[2].weight.grad.zero_()
        model[3].weight.grad = None
        loss_of(model, x).backward()
        model[0].bias.grad = model[0].bias.detach().clone()
        loss_of(model, x).backward(torch.tensor(2.0, dtype=torch.float64))
        models.append(model)
    same_gradients(models[1], models[0])


def no_sync_style(mesh):
    """A gradient kept from pass to pass in another variable is not changed by the next one."""
    model, plain = distributed(mesh, net()), net()
    loss_of(model, batch(mesh)).backward()
    kept = model[0].weight.grad
    model.zero_grad(set_to_none=True)
    loss_of(model, batch(mesh) * 3).backward()
    loss_of(plain, batch()).backward()
    same(kept, plain[0].weight.grad)


def plain_leaves(mesh):
    """A plain leaf that takes part gets a plain, whole gradient on every rank."""
    results = []
    for sharded in (False, True):
        model = net()
        scale = nn.Parameter(torch.linspace(1, 2, 5, dtype=torch.float64))
        shift = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        picked = nn.Parameter(torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
        if sharded:
            distributed(mesh, model)
        log = []
        scale.register_hook(lambda g, log=log: log.append(weft.is_sharded(g)))
        for _ in range(2):
            x = batch(mesh if sharded else None)
            h = x * scale + shift
            h = h + picked[torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])]
            (loss_of(model, h) + shift.exp()).backward()
        results.append((model, scale, shift, picked))
        for p in (scale, shift, picked):
            assert not weft.is_sharded(p.grad), p
    same_gradients(results[1][0], results[0][0])
    for p, q in zip(results[1][1:], results[0][1:], strict=True):
        same(p.grad, q.grad)


def tied(mesh):
    """An embedding tied to the output projection: one gradient, both uses summed, for each layout."""
    for layout in every_layout(mesh, 2, partial=False):
        models = []
        for sharded in (False, True):
            torch.manual_seed(0)
            model = nn.ModuleDict({"embed": nn.Embedding(11, 6), "head": nn.Linear(6, 11, bias=False)})
            model["head"].weight = model["embed"].weight
            if sharded:
                weft.distribute_module(model, {"embed/weight": layout.axes}, mesh=mesh)
                assert model["head"].weight is model["embed"].weight
                assert weft.layout_of(model["head"].weight) == layout
            for _ in range(2):
                ids = torch.arange(22).remainder(11).view(2, 11)
                if sharded:
                    ids = weft.distribute_tensor(ids, ("a", None), mesh)
                logits = model["head"](model["embed"](ids).tanh())
                nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten().roll(1)).backward()
            assert len(list(model.parameters())) == 1
            models.append(model)
        same_gradients(models[1], models[0])


def autograd_grad(mesh):
    """autograd.grad, with a graph of its own, and twice through it."""
    found = []
    for sharded in (False, True):
        model = net()
        if sharded:
            distributed(mesh, model)
        loss = loss_of(model, batch(mesh if sharded else None))
        grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        sum(g.square().sum() for g in grads).backward()
        found.append((grads, model))
    for got, want in zip(found[1][0], found[0][0], strict=True):
        same(got, want)
    same_gradients(found[1][1], found[0][1])


def inputs_argument(mesh):
    """backward(inputs=...) fills those alone."""
    model, plain = distributed(mesh, net()), net()
    for m, x in ((model, batch(mesh)), (plain, batch())):
        loss_of(m, x).backward(inputs=[m[0].weight, m[3].bias])
    same_gradients(model, plain)


def tangents(mesh):
    """Forward-mode AD of views and of writes through them, a tangent that lies otherwise than its primal."""
    x, t = torch.randn(5, 4), torch.randn(5, 4)

    def push(primal, tangent):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(primal, tangent)
            copy = dual.clone()
            copy[0] = 1
            copy.t()[1].sin_()
            results = [dual[1:3].t(), dual.reshape(20)[3:].unsqueeze(1).expand(17, 2), copy]
            return [forward_ad.unpack_dual(r).tangent.clone() for r in results]

    expected = push(x, t)
    for layout in every_layout(mesh, 2):
        for other in (None, *every_layout(mesh, 2)):
            tangent = t if other is None else weft.distribute_tensor(t, other)
            for got, want in zip(push(weft.distribute_tensor(x, layout), tangent), expected, strict=True):
                same(got, want, f"{layout} {other}")


def used_by_one_path_only(mesh):
    """A parameter that no op used has no gradient; one used only through a detached value has none either."""
    model = distributed(mesh, net())
    (model[0](batch(mesh)).sum() + model[2].weight.detach().sum()).backward()
    assert model[0].weight.grad is not None and model[2].weight.grad is None and model[3].bias.grad is None


def gradients_in_step(mesh):
    """Collection of garbage on one rank alone does not part the ranks."""
    model, plain = distributed(mesh, net()), net()
    for m, x in ((model, batch(mesh)), (plain, batch())):
        for i in range(4):
            loss = loss_of(m, x)
            if m is model and weft.rank() == i % 2:
                cycle = [loss, model[0].weight.detach()]
                cycle.append(cycle)
                del cycle
            if weft.rank() == 0:
                gc.collect()
            loss.backward()
    same_gradients(model, plain)


def gradients_of_no_memory(mesh):
    """Core's zeros that have none, which some formulas give as gradients."""
    x, zeros = torch.randn(5, 4), torch._efficientzerotensor(5, 4)
    for layout in every_layout(mesh, 2):
        for f in (torch.sgn, lambda t: torch.sgn(t) * t):
            plain = x.clone().requires_grad_()
            f(plain).sum().backward()
            leaf = weft.distribute_tensor(x, layout, mesh).requires_grad_()
            f(leaf).sum().backward()
            same(leaf.grad, plain.grad)
        same(weft.distribute_tensor(x, layout, mesh) + zeros, x)
        same(weft.distribute_tensor(zeros, layout, mesh), torch.zeros(5, 4))


CASES = {
    f.__name__: f
    for f in (
        gradients_of_no_memory,
        accumulation,
        no_sync_style,
        plain_leaves,
        tied,
        autograd_grad,
        inputs_argument,
        tangents,
        used_by_one_path_only,
        gradients_in_step,
    )
}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, 4, mesh=-1)
