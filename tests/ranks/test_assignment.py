"""What is put in the place of a sharded variable: `.data`, `set_`, parameters, buffers, modules. Each program runs on a
plain and on a sharded model."""

import time

import pytest
import torch
import torch.nn.utils.prune
import weft
from ranks.replaced import both, facts, net, numbers, same_models, train
from support.cases import cases_on_worlds, same, whole
from support.ranks import run_ranks
from torch import nn


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
    """Programs free a weight so, and bring it back; another dtype goes, too."""

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
    """A variable that is given a view shares it with what it is a view of."""

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


def what_was_just_broadcast(mesh):
    """Gloo's workers may still hold it: often enough that one of so many does."""
    for _ in range(50):
        layer, data = nn.Linear(5, 7).double(), nn.Parameter(numbers(7, 5))
        with torch.no_grad():
            for tensor in (*layer.parameters(), data):
                torch.distributed.broadcast(tensor, 0)
        data.data = weft.distribute_tensor(numbers(7, 5), ("a", None), mesh)
        weft.distribute_module(layer, {"weight": ("a", None)}, mesh=mesh)
        assert weft.is_sharded(data) and weft.is_sharded(layer.weight)


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
        what_was_just_broadcast,
        plain_cannot_become_sharded,
        resized_embeddings,
    )
}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, mesh=-1)


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
