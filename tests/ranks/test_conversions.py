"""Checkpoints that are assigned, `to`, `_apply`, `to_empty`, `torch.compile`: each program runs on a plain and on a
sharded model."""

import contextlib
import functools

import pytest
import torch
import torch.nn.utils.prune
import weft
from ranks.replaced import both, facts, net, numbers, same_models, train
from support.cases import cases_on_worlds, same, whole
from support.ranks import run_ranks
from torch import nn


@contextlib.contextmanager
def conversion(mode):
    """How torch puts converted parameters in their places."""
    switches = {
        "set_data": lambda on: None,
        "swap": torch.__future__.set_swap_module_params_on_conversion,
        "overwrite": torch.__future__.set_overwrite_module_params_on_conversion,
    }
    switches[mode](True)
    try:
        yield
    finally:
        switches[mode](False)


MODES = ("set_data", "swap", "overwrite")


def checkpoint_assigned(mesh, mode):
    values = {k: v * 2 for k, v in net(seed=5).state_dict().items()}

    def program(model):
        before = dict(model.named_parameters())
        model.load_state_dict({k: v.clone() for k, v in values.items()}, assign=True)
        assert mode != "swap" or all(p is before[n] for n, p in model.named_parameters())
        assert all(p.requires_grad and p.is_leaf for p in model.parameters())
        train(model)

    with conversion(mode):
        sharded, plain, before = both(mesh, program)
        same_models(sharded, plain, before)
        model = net(mesh)
        state = {k: torch.nn.Parameter(v) for k, v in net(seed=5).named_parameters()}
        model.load_state_dict(state, assign=True, strict=False)  # parameters are taken as they are
        assert mode == "swap" or model[0].weight is state["0.weight"]
        assert facts(model) == before, facts(model)
        other = net(mesh, seed=7)
        model.load_state_dict(other.state_dict(), assign=True)  # sharded ones too, which the models then share
        same_models(model, net(seed=7), before)


def converted(mesh, mode):
    def program(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train(model, optimizer)
        weight = model[0].weight
        model.float()
        assert model[0].weight.grad.dtype == torch.float32
        model.to(torch.float64)
        assert mode == "overwrite" or model[0].weight is weight
        train(model)
        model.to_empty(device="cpu")
        with torch.no_grad():
            for i, t in enumerate([*model.parameters(), *model.buffers()]):
                t.copy_(numbers(*t.shape, seed=i).abs() * 10)
        model.zero_grad()
        train(model)

    with conversion(mode):
        sharded, plain, before = both(mesh, program)
        same_models(sharded, plain, before)


def applied(mesh, mode):
    """`_apply` of a function that gives plain tensors."""
    with conversion(mode):
        sharded, plain, before = both(mesh, lambda model: model._apply(lambda t: whole(t) * 2))
        same_models(sharded, plain, before)


def placed(mesh):
    """Parameters, buffers and modules in the places of sharded ones."""

    def program(model):
        weight = nn.Parameter(torch.empty(7, 5, dtype=torch.float64))
        model[0].weight = weight
        nn.init.normal_(weight)
        assert model[0].weight is weight
        model[3].running_mean = numbers(4)
        model[3].register_buffer("running_var", numbers(4).abs())
        model[2] = nn.Linear(7, 4).double()
        model[0].bias = None
        model[0].bias = nn.Parameter(numbers(7))  # no place of a sharded one
        if weft.is_sharded(weight):
            assert not weft.is_sharded(model[0].bias)
            model[0].bias.data = weft.distribute_tensor(numbers(7), ("a",), mesh)
            torch.ops.weft.set_path(model[0].bias, "0/bias")
        train(model)

    sharded, plain, before = both(mesh, program)
    same_models(sharded, plain, before)


def placed_in_use(mesh):
    model, before = net(mesh), facts(net(mesh))
    used = nn.Parameter(numbers(7, 5))
    loss = used.sum()
    head = nn.Linear(7, 4).double()
    after = head.bias.sum()
    for place, what in (
        (lambda: setattr(model[0], "weight", used), "0/weight"),
        (lambda: setattr(model, "2", head), "2.bias"),
    ):
        with pytest.raises(ValueError, match=f"{what}: the plain tensor .* live autograd graph"):
            place()
        assert facts(model) == before and not weft.is_sharded(head.weight)
    del loss, after


def compiled(mesh):
    """Where it records no graphs torch.compile leaves what is sharded to Python, and the first rank says so once."""
    import warnings

    from weft import compiling

    compiling._told = False
    torch._dynamo.reset()
    recorded = weft.compile_graphs(False)
    got = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for sharded in (None, mesh):
            model = net(sharded)
            run = torch.compile(model, backend="eager")
            for x in (
                numbers(6, 5),
                weft.distribute_tensor(numbers(6, 5), ("a", None), mesh) if sharded else numbers(6, 5),
            ):
                run(x).square().sum().backward()
            got.append(model)
    if recorded:
        weft.compile_graphs()
    texts = [str(w.message) for w in told if "torch.compile" in str(w.message)]
    if weft.rank() > 0:
        assert texts == []
    else:
        assert len(texts) == 1 and "runs op by op" in texts[0], texts
    same_models(*got[::-1])
    for p, q in zip(got[1].parameters(), got[0].parameters(), strict=True):
        same(p.grad, q.grad)


CASES = {f.__name__: f for f in (placed, placed_in_use, compiled)} | {
    f"{f.__name__}, {mode}": functools.partial(f, mode=mode)
    for f in (checkpoint_assigned, converted, applied)
    for mode in MODES
}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, mesh=-1)


def saved_differently():
    """A checkpoint's values are compared; a parameter that is put in place may be memory that is filled later."""
    mesh = weft.DeviceMesh((2,), ("a",), device_type="cpu")
    model, state = net(mesh), net().state_dict()
    weight = nn.Parameter(torch.full((7, 5), float(weft.rank()), dtype=torch.float64))
    model[0].weight = weight
    nn.init.ones_(weight)
    assert weft.full_tensor(weight).sum() == 35
    state["0.weight"] = state["0.weight"] + weft.rank()
    with pytest.raises(ValueError) as error:
        model.load_state_dict(state, assign=True)
        weft.full_tensor(model[0].weight)
    return str(error.value)


def test_checkpoints_differ():
    first, second = run_ranks(2, saved_differently)
    assert first == second and "[set_data]: its operand 'value', a plain tensor, has other values" in first, first
