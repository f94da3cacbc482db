"""Pending gradients that are added to others: of tied weights, of several passes, of gradients of gradients."""

import torch
import weft
from ranks.buckets import MANY, every_axis, gradients, pair
from support.cases import cases_on_worlds, same, same_gradients
from torch import nn


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


CASES = {
    f.__name__: f
    for f in (
        tied,
        accumulated,
        accumulated_anyhow,
        read_while_accumulated,
        changed_before_accumulation,
        twice_differentiable,
    )
}


results, test_gradients = cases_on_worlds(globals(), 2, 3, 4, mesh="every")
