"""Variables made on the meta device that nothing fills: they are named where they are first used, on all ranks."""

import copy

import pytest
import torch
import weft
from torch import nn


class Turned(nn.Module):
    """A buffer that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("angles", torch.arange(4.0), persistent=False)

    def forward(self, x):
        return x * self.angles


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.turned, self.norm = nn.Linear(4, 4), Turned(), nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.turned(self.up(x)))


def made(**options):
    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    with torch.device("meta"):
        net = Net()
    return weft.distribute_module(net, {"up/weight": ("a", None)}, mesh=mesh, **options)


def error_of(call):
    try:
        call()
    except ValueError as e:
        return str(e)
    return ""


def fills(how):
    """Paths that are empty before and after filling, errors of the module and of a part of it, and the result."""
    torch.manual_seed(0)
    plain, x = Net(), torch.randn(3, 4)
    net = made(param_init_fn=lambda m: None)
    before = weft.unfilled_paths(net)
    weights = plain.state_dict()
    if how == "data":
        for path, p in net.named_parameters():
            p.data.copy_(weights[path])
    else:
        net.load_state_dict(weights, assign=how == "assign")
    after = weft.unfilled_paths(net)
    whole, part, free = error_of(lambda: net(x)), error_of(lambda: net.turned(x)), error_of(lambda: net.up(x))
    with torch.no_grad():
        net.turned.angles.copy_(torch.arange(4.0))
    same = torch.allclose(weft.full_tensor(net(x)), plain(x), atol=1e-6)
    hooks = sum(len(m._forward_pre_hooks) for m in net.modules())
    return before, after, whole, part, free, same, hooks, weft.unfilled_paths(net)


@pytest.mark.parametrize("how", ["load", "assign", "data"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_named_at_first_use(request, ranks, how):
    for before, after, whole, part, free, same, hooks, left in request.getfixturevalue(ranks)(fills, how):
        assert before == ["up.weight", "up.bias", "turned.angles", "norm.weight", "norm.bias"]
        assert after == ["turned.angles"]
        assert (
            whole.startswith("[W054] Net: 1 variables were made on the meta device, or emptied,")
            and "turned.angles" in whole
        )
        assert part.startswith("[W054] Turned: 1 variables") and free == ""
        assert same and hooks == 0 and left == []


def replaced(times):
    """Paths that are empty where each variable's data were replaced that often: old memory is soon taken again."""
    net = made(param_init_fn=lambda m: None)
    for _ in range(times):
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.data = torch.ones(tensor.shape)
    return weft.unfilled_paths(net)


def test_replaced_data_are_values(ranks2):
    for times in range(1, 8):  # of five variables each has its own memory again after six
        assert ranks2(replaced, times) == [[], []], times


def copied():
    """Paths that are empty in copies, before and after one is filled, what they say, and hooks that are left."""
    net = made(param_init_fn=lambda m: None)
    filled, empty = copy.deepcopy(net), copy.deepcopy(net)
    before = weft.unfilled_paths(filled)
    with torch.no_grad():
        for tensor in (*filled.parameters(), *filled.buffers()):
            tensor.fill_(1)
    x = torch.ones(3, 4)
    said = [error_of(lambda n=n: n(x)) for n in (net, filled, empty)]
    return before, said, weft.unfilled_paths(filled), sum(len(m._forward_pre_hooks) for m in filled.modules())


def test_copies_are_to_be_filled(ranks2):
    for before, (said, filled, empty), left, hooks in ranks2(copied):
        assert before == ["up.weight", "up.bias", "turned.angles", "norm.weight", "norm.bias"]
        assert said.startswith("[W054] Net: 5 variables") and empty == said
        assert filled == "" and left == [] and hooks == 0


def initialises():
    def init(module):
        if isinstance(module, Turned):
            module.angles = torch.arange(4.0)
        else:
            module.reset_parameters()

    net = made(param_init_fn=init)
    return weft.unfilled_paths(net), sum(len(m._forward_pre_hooks) for m in net.modules())


def test_filled_at_once_costs_nothing(ranks2):
    assert ranks2(initialises) == [([], 0)] * 2


def llama_filled(before_loading=None):
    from ranks.zoo import MODELS

    torch.manual_seed(0)
    plain = MODELS["llama"].build().eval()
    with torch.device("meta"):
        model = MODELS["llama"].build().eval()
    mesh = weft.DeviceMesh((weft.world_size(),), ("model",), device_type="cpu")
    weft.distribute_module(model, weft.hf.layouts(model, mesh), param_init_fn=lambda m: None)
    if before_loading is not None:
        before_loading(model)
    model.load_state_dict(plain.state_dict())
    ids = torch.arange(6)[None]
    return weft.unfilled_paths(model), torch.allclose(weft.full_tensor(model(ids).logits), plain(ids).logits, atol=1e-5)


def test_rotary_buffers_of_a_loaded_model(ranks2):
    # inv_freq, which no checkpoint holds: computed by the model's own initialiser.
    assert ranks2(llama_filled) == [([], True)] * 2


def emptied():
    """The steps are those of fully_shard: laid out on the meta device, then memory, then the weights."""
    torch.manual_seed(0)
    plain, x = Net(), torch.randn(3, 4)
    net = made(param_init_fn=lambda m: None).to_empty(device="cpu")
    net.load_state_dict(plain.state_dict())
    missing, error = weft.unfilled_paths(net), error_of(lambda: net(x))
    with torch.no_grad():
        net.turned.angles.copy_(torch.arange(4.0))
    same = torch.allclose(weft.full_tensor(net(x)), plain(x), atol=1e-6)
    swap = torch.__future__.set_swap_module_params_on_conversion
    again = made(param_init_fn=lambda m: None).to_empty(device="cpu")
    again.load_state_dict(plain.state_dict() | {"turned.angles": torch.arange(4.0)}, strict=False)
    swap(True)
    try:  # which nothing may hold a weak reference to
        again.up.double(), again.norm.double()
    finally:
        swap(False)
    same = (
        same
        and again.up.weight.dtype == torch.float64
        and torch.equal(weft.full_tensor(again.up.weight.detach()), plain.up.weight.detach().double())
    )
    model = llama_filled(lambda m: m.to_empty(device="cpu"))
    return missing, error, same, sum(len(m._forward_pre_hooks) for m in net.modules()), model


def test_what_to_empty_leaves(ranks2, ranks3):
    for ranks in (ranks2, ranks3):
        for missing, error, same, hooks, model in ranks(emptied):
            assert missing == ["turned.angles"] and error.startswith("[W054] Net: 1 variables") and "angles" in error
            assert same and hooks == 0 and model == ([], True)
