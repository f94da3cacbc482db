"""A plain optimizer's state dict, loaded for a sharded model: laid out as the parameters, in no more memory."""

import copy

import pytest
import torch
import weft

KINDS = {"AdamW": {}, "SGD": {"momentum": 0.9}, "Adafactor": {}, "ASGD": {}}


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 33), torch.nn.ReLU(), torch.nn.Linear(33, 5))


def steps(model, optimizer, count):
    x = torch.arange(64.0).reshape(4, 16) / 64
    for _ in range(count):
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def resumed(kind):
    """How far the parameters are apart after steps that went on sharded, and what of the state is wrong."""
    plain = net()
    make = lambda model: getattr(torch.optim, kind)(model.parameters(), lr=0.1, **KINDS[kind])  # noqa: E731
    its_optimizer = make(plain)
    steps(plain, its_optimizer, 3)
    model, mesh = net(), weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    weft.distribute_module(model, {"0/weight": ("a", None), "2/weight": (None, "a"), "0/bias": ("a",)}, mesh=mesh)
    model.load_state_dict(plain.state_dict())
    optimizer = make(model)
    optimizer.load_state_dict(copy.deepcopy(its_optimizer.state_dict()))
    wrong = []
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        for key, value in optimizer.state[p].items():
            whole = its_optimizer.state[q][key]
            if not isinstance(value, torch.Tensor):
                continue
            if whole.shape != p.shape:  # of no layout of the parameter's: as it was given
                wrong += [f"{name} {key}"] if weft.is_sharded(value) else []
                continue
            local = weft.local_tensor(value)
            as_parameter = weft.layout_of(value) == weft.layout_of(p)
            if not as_parameter or local.untyped_storage().nbytes() != weft.local_tensor(p.detach()).nbytes:
                wrong.append(f"{name} {key}")
            if not torch.equal(weft.full_tensor(value), whole):
                wrong.append(f"{name} {key}: its value")
    steps(plain, its_optimizer, 2)
    steps(model, optimizer, 2)
    pairs = zip(model.parameters(), plain.parameters(), strict=True)
    return max((weft.full_tensor(p.detach()) - q).abs().max().item() for p, q in pairs), wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [2, 3])
def test_whole_state_is_laid_out(ranks, kind, request):
    for apart, wrong in request.getfixturevalue(f"ranks{ranks}")(resumed, kind, timeout=240):
        assert wrong == [] and apart < 1e-6
