"""Optimizers, gradient clipping and scaling on sharded parameters: the plain model's numbers; what they send."""

import copy
import functools

import pytest
import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same
from torch import nn

LAYOUTS = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a"), "3/weight": ("a",)}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3), nn.LayerNorm(3, eps=1.0)).double()


def data(mesh=None, step=0):
    torch.manual_seed(step)
    x, y = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    if mesh is None:
        return x, y
    return weft.distribute_tensor(x, ("a", None), mesh), weft.distribute_tensor(y, ("a", None), mesh)


def train(mesh, make, steps=4, clip=None, plain_too=False, scaler=False):
    """Trains the plain net (mesh None) or the sharded one; returns losses, norms and parameters."""
    model = net()
    if mesh is not None:
        weft.distribute_module(model, LAYOUTS, mesh=mesh)
    scale = nn.Parameter(torch.ones(3, dtype=torch.float64))  # stays plain
    parameters = [*model.parameters(), scale] if plain_too else list(model.parameters())
    optimizer = make(parameters)
    grad_scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2) if scaler else None
    seen = []
    for step in range(steps):
        x, y = data(mesh, step)
        out = model(x)
        loss = nn.functional.mse_loss(out * scale if plain_too else out, y)
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        if grad_scaler:
            grad_scaler.scale(loss).backward()
            if step == 2:
                model[0].weight.grad[-1, 0] = float("inf")  # in one rank's part alone: every rank must skip the step
            grad_scaler.unscale_(optimizer)
        else:
            loss.backward()
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, 0.1, norm_type=clip)
            seen.append(norm)
        if grad_scaler:
            grad_scaler.step(optimizer)
            grad_scaler.update()
            seen.append(torch.tensor(grad_scaler.get_scale(), dtype=torch.float64))
        else:
            optimizer.step()
        seen.append(loss)
    states = [v for p in parameters for _, v in sorted(optimizer.state[p].items()) if isinstance(v, torch.Tensor)]
    return seen + [p.detach() for p in parameters] + states, parameters


def equal_training(mesh, make, **options):
    want, _ = train(None, make, **options)
    got, parameters = train(mesh, make, **options)
    assert len(got) == len(want)
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        same(g, w, f"value {i}")
    for p in parameters:
        if weft.is_sharded(p) and p.grad is not None:
            assert weft.layout_of(p.grad) == weft.layout_of(p)


def kinds():
    optim = torch.optim
    return {
        "sgd for-loop": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, foreach=False),
        "sgd foreach": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, foreach=True),
        "sgd fused": lambda p: optim.SGD(p, 0.1, momentum=0.9, fused=True),
        "adam for-loop": lambda p: optim.Adam(p, 0.05, foreach=False),
        "adam foreach": lambda p: optim.Adam(p, 0.05, foreach=True, amsgrad=True),
        "adam fused": lambda p: optim.Adam(p, 0.05, fused=True),
        "adamw for-loop": lambda p: optim.AdamW(p, 0.05, foreach=False, amsgrad=True),
        "adamw foreach": lambda p: optim.AdamW(p, 0.05, foreach=True),
        "adamw fused": lambda p: optim.AdamW(p, 0.05, fused=True),
        "adagrad": lambda p: optim.Adagrad(p, 0.05),
        "rmsprop": lambda p: optim.RMSprop(p, 0.05, momentum=0.5),
    }


def state_dict(mesh):
    """An optimizer's state goes into another one of the same layouts, which then goes on alike."""
    models = []
    for _ in range(2):
        models.append(weft.distribute_module(net(), LAYOUTS, mesh=mesh))
    first, second = (torch.optim.AdamW(m.parameters(), 0.05) for m in models)

    def step(model, optimizer, number):
        x, y = data(mesh, number)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    step(models[0], first, 0)
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # it shares what it is given
    for model, optimizer in zip(models, (first, second), strict=True):
        step(model, optimizer, 1)
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        same(p, weft.full_tensor(q.detach()))


def reduced_once(mesh):
    """Each gradient is reduced once, in backward; the optimizer's step sends nothing, clipping a few bytes."""
    for foreach in (False, True):
        model = weft.distribute_module(net(), LAYOUTS, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), 0.05, foreach=foreach)
        for _ in range(2):
            x, y = data(mesh)
            loss = nn.functional.mse_loss(model(x), y)
            with weft.trace() as backward:
                loss.backward()
            with weft.trace() as reading:
                for p in model.parameters():
                    p.grad.abs().square()
            with weft.trace() as clipping:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=foreach)
            with weft.trace() as stepping:
                optimizer.step()
                optimizer.zero_grad()
            reductions = [r for r in backward.rows if r.kind in ("all_reduce", "reduce_scatter")]
            assert len(reductions) <= 8, f"{backward}"  # six gradients, and those of the activations
            assert not reading.rows and not stepping.rows, f"{reading}\n{stepping}"
            assert clipping.total_bytes <= 6 * 32, f"{clipping}"


def cases_of(mesh):
    found = {}
    for name, make in kinds().items():
        found[f"{name}"] = functools.partial(equal_training, mesh, make)
    for p in (1.0, 2.0, float("inf")):
        found[f"clip_grad_norm_ {p}"] = functools.partial(equal_training, mesh, kinds()["sgd foreach"], clip=p)
    for name in ("sgd foreach", "adamw foreach", "adam fused"):
        options = {"plain_too": True, "clip": 2.0}
        found[f"mixed {name}"] = functools.partial(equal_training, mesh, kinds()[name], **options)
    for name in ("sgd foreach", "adamw for-loop", "adam fused"):
        found[f"scaler {name}"] = functools.partial(equal_training, mesh, kinds()[name], scaler=True)
    found["state_dict"] = functools.partial(state_dict, mesh)
    found["reduced_once"] = functools.partial(reduced_once, mesh)
    return found


CASES = list(cases_of(None))


def every_case(world):
    return run_cases(cases_of(meshes(world)[-1]))


results = on_worlds(every_case, 2, 4)


@pytest.mark.parametrize("name", CASES)
def test_equals_plain(results, name):
    check(results, name)
