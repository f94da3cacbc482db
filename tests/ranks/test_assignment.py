"""What is put in the place of a sharded variable: `.data`, `set_`, parameters, buffers, modules, checkpoints,
conversions. Each program runs on a plain and on a sharded model."""

import contextlib
import functools
import time

import pytest
import torch
import torch.nn.utils.prune
import weft
from support.cases import check, meshes, on_worlds, run_cases, same, whole
from support.ranks import run_ranks
from torch import nn

LAYOUTS = {
    "0/weight": ("a", None),
    "0/bias": ("a",),
    "2/weight": (None, "a"),
    "3/weight": ("a",),
    "3/running_mean": ("a",),
}


def net(mesh=None, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.BatchNorm1d(4)).double()
    if mesh is not None:
        weft.distribute_module(model, LAYOUTS, mesh=mesh)
    return model


def numbers(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def train(model, optimizer=None, steps=3):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        model(numbers(6, model[0].weight.shape[1], seed=step)).sin().sum().backward()
        optimizer.step()
    return model


def train_load_and_train(model):
    """With a checkpoint of plain values, the biases changed, between two trainings."""
    train(model)
    keys = list(model.state_dict())
    model.load_state_dict({k: whole(v) * (0.9 if k.endswith("bias") else 1) for k, v in model.state_dict().items()})
    assert list(model.state_dict()) == keys
    train(model)


def facts(model):
    """Path, layout and shape of each variable."""
    members = [*model.named_parameters(), *model.named_buffers()]
    return {n: (weft.path_of(t), weft.layout_of(t).axes, tuple(t.shape)) for n, t in members}


def same_models(sharded, plain, names_kept=None):
    """The same names and values; where `names_kept` is given, the layouts and paths that it had."""
    got, want = sharded.state_dict(), plain.state_dict()
    assert list(got) == list(want), (list(got), list(want))
    for name, value in want.items():
        assert got[name].dtype == value.dtype and weft.is_sharded(got[name]), name
        same(got[name], value, name)
    if names_kept is not None:
        assert facts(sharded) == names_kept, (facts(sharded), names_kept)


def both(mesh, program):
    """The models that `program` left, run on a plain and on a sharded one, and what the layouts were before."""
    out = []
    for sharded in (None, mesh):
        model = net(sharded)
        before = facts(model) if sharded else None
        torch.manual_seed(3)
        with weft.random_mode("replay"):
            out.append(program(model) or model)
    return out[1], out[0], before


def data_of_a_plain_value(mesh):
    def program(model):
        weight, optimizer = model[0].weight, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train(model, optimizer, 2)
        weight.data = numbers(7, 5)
        model[3].running_mean.data = numbers(4)
        assert weight is model[0].weight and weight.requires_grad and weight.grad is not None
        train(model, optimizer)

    sharded, plain, before = both(mesh, program)
    same_models(sharded, plain, before)


def data_of_another_shape(mesh):
    def program(model):
        for rows in (11, 2, 1, 6):
            model[0].weight.data, model[0].bias.data = numbers(rows, 5), numbers(rows)
            model[2].weight.data = numbers(4, rows)
            model.zero_grad()
            train(model)

    sharded, plain, before = both(mesh, program)
    same_models(sharded, plain)
    assert {n: f[:2] for n, f in facts(sharded).items()} == {n: f[:2] for n, f in before.items()}


def data_of_other_dimensions(mesh):
    """As programs free a weight and bring it back; and another dtype."""

    def program(model):
        weight, kept = model[0].weight, model[0].weight.detach().clone()
        weight.data = torch.empty(0, dtype=torch.float64)
        assert weight.shape == (0,)
        weight.data = whole(kept)
        model[2].weight.data = model[2].weight.data.new_zeros(2, 2, 2)
        model[2].weight.data = numbers(4, 7)
        model[0].bias.data = model[0].bias.data.float()
        assert model[0].bias.dtype == torch.float32
        model[0].bias.data = numbers(7).float().double()
        train(model)

    sharded, plain, before = both(mesh, program)
    same_models(sharded, plain, before)


def data_of_a_computed_value(mesh):
    """A result lies as its op leaves it: a pending sum, another split. The variable keeps its layout."""

    def program(model):
        model[0].weight.data = model[2].weight.data.t() @ numbers(4, 5)
        model[2].weight.data = model[2].weight.data.double() * 2
        model[3].weight.data = model[3].weight.data.cumsum(0)
        with torch.no_grad():
            model[0].bias.set_((model[0].weight.exp() @ numbers(5, 1))[:, 0].clone())
            model[3].bias.set_(numbers(4))
        train(model)

    sharded, plain, before = both(mesh, program)
    same_models(sharded, plain, before)


def data_of_a_part(mesh):
    """Of a view, which the variable then shares with what it is a view of."""

    def program(model):
        old = model[0].weight.data
        model[0].weight.data, model[0].bias.data = old[:4], model[0].bias.data[:4]
        model[2].weight.data = model[2].weight.data[:, :4]
        model.zero_grad()
        train(model)
        return nn.ParameterList([*model.parameters(), nn.Parameter(old)])

    sharded, plain, _ = both(mesh, program)
    same_models(sharded, plain)


def data_is_shared(mesh):
    """Tied by `.data`, within a layout and between two, and with a plain parameter."""
    for other in ("3.bias", "3.weight", "plain"):

        def program(model, other=other):
            tied = nn.Parameter(numbers(4)) if other == "plain" else model.get_parameter(other)
            tied.data = model[2].bias.data
            with torch.no_grad():
                model[2].bias.mul_(3)
                tied.add_(1)
            return nn.ParameterList([*model.parameters(), tied])

        sharded, plain, _ = both(mesh, program)
        same_models(sharded, plain)


def data_of_a_tied_parameter(mesh):
    def program(model):
        tied = nn.Sequential(nn.Linear(5, 7, bias=False).double(), *model)
        tied[0].weight = model[0].weight
        model[0].weight.data = numbers(7, 5) * 2
        assert tied[0].weight is tied[1].weight
        return nn.ParameterList([(tied[0].weight + 1).detach(), *model.parameters()])

    sharded, plain, _ = both(mesh, program)
    same_models(sharded, plain)


def plain_becomes_sharded(mesh):
    models = []
    for sharded in (None, mesh):
        model, calls = net(), []
        weight = model[0].weight
        weight.register_hook(lambda g, calls=calls: calls.append(tuple(g.shape)))
        weight.mark = "kept"
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train(model, optimizer, 2)
        value = numbers(7, 5)
        weight.data = value if sharded is None else weft.distribute_tensor(value, ("a", None), mesh)
        train(model, optimizer, 2)
        assert model[0].weight is weight and weight.mark == "kept" and calls == [(7, 5)] * 4, calls
        assert sharded is None or weft.layout_of(weight.grad) == weft.layout_of(weight)
        models.append(model)
    for p, q in zip(models[1].parameters(), models[0].parameters(), strict=True):
        same(p, q)
    assert weft.layout_of(models[1][0].weight).axes == ("a", None)


def plain_cannot_become_sharded(mesh):
    value = weft.distribute_tensor(numbers(7, 5), ("a", None), mesh)
    used, view = nn.Parameter(numbers(7, 5)), numbers(7, 5)[:]
    loss, had = used.square().sum(), nn.Parameter(numbers(2, 2))
    had.grad = numbers(2, 2)
    for tensor, why in ((used, "live autograd graph"), (used * 2, "result of"), (view[1:], "view"), (had, "gradient")):
        before = tensor.detach().clone()
        with pytest.raises(ValueError, match=why):
            tensor.data = value
        assert not weft.is_sharded(tensor) and torch.equal(tensor, before)
    loss.backward()
    with pytest.raises(NotImplementedError, match=r"\[set_\.source_Tensor\] a plain tensor"), torch.no_grad():
        used.set_(value)
    with pytest.raises(RuntimeError, match="ould not set|must be the same"), torch.no_grad():
        value.set_(numbers(7, 5).float())
    with pytest.raises(NotImplementedError, match="sparse"):
        value.data = torch.eye(5, dtype=torch.float64).to_sparse()
    with pytest.raises(RuntimeError, match="floating point"):
        net(mesh)[0].weight.data = torch.ones(7, 5, dtype=torch.int64)


def resized_embeddings(mesh):
    """transformers' resize_token_embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    layouts = {".*(embed_tokens|lm_head)/weight": ("a", None), ".*(q|k|v)_proj/weight": ("a", None)}
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    for tied in (True, False):
        for rows, mean in ((17, False), (17, True), (9, False)):
            models = []
            for sharded in (None, mesh):
                torch.manual_seed(0)
                config = LlamaConfig(vocab_size=13, tie_word_embeddings=tied, num_key_value_heads=2, **sizes)
                model = LlamaForCausalLM(config)
                if sharded is not None:
                    weft.distribute_module(model, layouts, mesh=mesh)
                torch.manual_seed(1)
                with weft.random_mode("replay"):
                    model.resize_token_embeddings(rows, mean_resizing=mean)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                tokens = torch.arange(8).view(2, 4)
                for _ in range(2):
                    model(input_ids=tokens, labels=tokens).loss.backward()
                    optimizer.step()
                models.append(model)
            same_models(models[1], models[0])
            for weight in (models[1].get_input_embeddings().weight, models[1].get_output_embeddings().weight):
                assert weft.layout_of(weight).axes == ("a", None) and weight.shape == (rows, 8), (tied, rows)
            assert (models[1].lm_head.weight is models[1].model.embed_tokens.weight) == tied


class Scaled(nn.Module):
    """A parametrization with another original than the weight."""

    def forward(self, original):
        return original * 2

    def right_inverse(self, weight):
        return weight / 2


class Symmetric(nn.Module):
    def forward(self, original):
        return original.triu() + original.triu(1).transpose(-1, -2)


nn_p = nn.utils.parametrizations
PARAMETRIZATIONS = {
    "spectral_norm": lambda m: nn_p.spectral_norm(m[2]),
    "spectral_norm of dimension 1": lambda m: nn_p.spectral_norm(m[0], dim=1, n_power_iterations=3),
    "orthogonal": lambda m: nn_p.orthogonal(m[0]),
    "orthogonal, cayley": lambda m: nn_p.orthogonal(m[2], orthogonal_map="cayley"),
    "orthogonal, matrix_exp": lambda m: nn_p.orthogonal(m[2], orthogonal_map="matrix_exp", use_trivialization=False),
    "weight_norm": lambda m: nn_p.weight_norm(m[0]),
    "weight_norm of dimension 1": lambda m: nn_p.weight_norm(m[2], dim=1),
    "one of one's own": lambda m: nn.utils.parametrize.register_parametrization(m[0], "weight", Scaled()),
    "two": lambda m: [nn.utils.parametrize.register_parametrization(m[2], "weight", Scaled()) for _ in range(2)],
    "of a buffer": lambda m: nn.utils.parametrize.register_parametrization(m[3], "running_mean", Scaled()),
}


def parametrized(mesh, name, first):
    """Registered before or after distributing; trained, read from a checkpoint, set, removed, trained."""
    models = []
    for sharded in (None, mesh):
        model = net()
        torch.manual_seed(3)
        with weft.random_mode("replay"):
            if not first and sharded is not None:
                weft.distribute_module(model, LAYOUTS, mesh=mesh)
                before = facts(model)
            PARAMETRIZATIONS[name](model)
            if first and sharded is not None:
                weft.distribute_module(model, {r"(0|2)/.*original(1|)": ("a", None)} | LAYOUTS, mesh=mesh)
            train_load_and_train(model)
        models.append(model)
    same_models(models[1], models[0])
    for model in models:
        for module in model:
            for tensor in [*getattr(module, "parametrizations", {})]:
                nn.utils.parametrize.remove_parametrizations(module, tensor)
        assert not any(nn.utils.parametrize.is_parametrized(m) for m in model)
        train(model)
    after = facts(models[1])
    if "weight_norm" in name:  # its variables are new ones
        assert first or all(any(after[n][1]) for n in ("0.weight", "2.weight")), after
        same_models(models[1], models[0])
    elif "matrix_exp" in name:  # the variable shares a part of a larger matrix, as that lies
        same_models(models[1], models[0])
    elif first:
        assert after["0.weight"][1] == ("a", None), after
        same_models(models[1], models[0])
    else:
        same_models(models[1], models[0], before)


def older_reparametrizations(mesh):
    """nn.utils.weight_norm, nn.utils.spectral_norm and nn.utils.prune keep the variable under another name."""
    programs = {
        "weight_norm": (
            lambda m: nn.utils.weight_norm(m[0]),
            lambda m: nn.utils.remove_weight_norm(m[0]),
        ),
        "spectral_norm": (
            lambda m: nn.utils.spectral_norm(m[2]),
            lambda m: nn.utils.remove_spectral_norm(m[2]),
        ),
        "prune": (
            lambda m: (
                nn.utils.prune.l1_unstructured(m[0], "weight", 0.4),
                nn.utils.prune.ln_structured(m[2], "weight", 0.5, 2, 0),
            ),
            lambda m: (nn.utils.prune.remove(m[0], "weight"), nn.utils.prune.remove(m[2], "weight")),
        ),
        "random prune": (
            lambda m: nn.utils.prune.random_unstructured(m[0], "weight", 0.4),
            lambda m: nn.utils.prune.remove(m[0], "weight"),
        ),
    }
    for name, (begin, end) in programs.items():

        def program(model, begin=begin, end=end):
            begin(model)
            train_load_and_train(model)
            end(model)
            train(model)

        sharded, plain, _ = both(mesh, program)
        same_models(sharded, plain)
        for tensor in ("0.weight", "2.weight"):
            assert any(facts(sharded)[tensor][1]), (name, facts(sharded))


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
    """torch.compile leaves what is sharded to Python, and the first rank says so once."""
    import warnings

    from weft import compiling

    compiling._told = False
    torch._dynamo.reset()
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
    texts = [str(w.message) for w in told if "torch.compile" in str(w.message)]
    if weft.rank() > 0:
        assert texts == []
    else:
        assert len(texts) == 1 and "runs op by op" in texts[0], texts
    same_models(*got[::-1])
    for p, q in zip(got[1].parameters(), got[0].parameters(), strict=True):
        same(p.grad, q.grad)


CASES = {
    f.__name__: f
    for f in (
        data_of_a_plain_value,
        data_of_another_shape,
        data_of_other_dimensions,
        data_of_a_computed_value,
        data_of_a_part,
        data_is_shared,
        data_of_a_tied_parameter,
        plain_becomes_sharded,
        plain_cannot_become_sharded,
        resized_embeddings,
        older_reparametrizations,
        placed,
        placed_in_use,
        compiled,
    )
}
CASES |= {
    f"{name}, {'before' if first else 'after'}": functools.partial(parametrized, name=name, first=first)
    for name in PARAMETRIZATIONS
    for first in (False, True)
}
CASES |= {
    f"{f.__name__}, {mode}": functools.partial(f, mode=mode)
    for f in (checkpoint_assigned, converted, applied)
    for mode in MODES
}


def every_case(world):
    mesh = meshes(world)[-1]
    return run_cases({name: functools.partial(f, mesh) for name, f in CASES.items()})


results = on_worlds(every_case, 2, 3)


@pytest.mark.parametrize("name", CASES)
def test_equals_plain(results, name):
    check(results, name)


def ranks_differ(what, check_plain):
    mesh = weft.DeviceMesh((2,), ("a",), device_type="cpu")
    model = net(mesh)
    second = weft.rank() == 1
    value = {"values": numbers(7, 5) + second, "shape": numbers(7 + second, 5), "dtype": numbers(7, 5).float()}[what]
    weft.check_plain(check_plain)
    start = time.monotonic()
    with pytest.raises(ValueError) as error:
        if what == "dtype" and second:
            value = value.double()
        model[0].weight.data = value
        if not check_plain:
            weft.full_tensor(model[0].weight)
    return str(error.value), time.monotonic() - start


@pytest.mark.parametrize(
    ("what", "check_plain"), [("values", False), ("values", True), ("shape", False), ("dtype", False)]
)
def test_ranks_differ(what, check_plain):
    """A plain value counts as the same on all ranks: where it is not, all raise the same error."""
    (first, took), (second, _) = run_ranks(2, ranks_differ, (what, check_plain))
    assert first == second and took < 5
    expected = (
        "the plain operand 'value' for 0/weight counts as" if check_plain else "[set_data]: its operand 'value', a"
    )
    assert expected in first, first


def saved_differently():
    """Of a checkpoint that is assigned; a parameter that is put in place may be memory that is filled later."""
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
