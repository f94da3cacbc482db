"""weft.check_finite: the first NaN or Inf is an error on all ranks, which names the rank, the op and the variable."""

import math

import pytest
import torch
import weft
from ranks.meshes import line
from support.cases import SOON, error_of
from support.ranks import run_ranks
from torch import nn


def model_of():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))
    layouts = {r"0/weight": ("a", None), r"0/bias": ("a",), r"2/weight": (None, "a")}
    return weft.distribute_module(model, layouts, mesh=line())


def spoil(variable, value):
    """One element of rank 1's part."""
    if weft.rank() == 1:
        with torch.no_grad():
            weft.local_tensor(variable).view(-1)[0] = value


def weight(value):
    model = model_of()
    spoil(model[0].weight, value)
    x = weft.distribute_tensor(torch.ones(3, 6), (None, None), line())
    with weft.check_finite():
        return error_of(lambda: weft.full_tensor(model(x)))


def made(op):
    x = weft.distribute_tensor(torch.tensor([1.0, 1.0, 1.0, 1.0]), ("a",), line())
    spoil(x, -1.0 if op == "log" else 1e30)
    with weft.check_finite():
        return error_of(lambda: weft.full_tensor({"log": torch.log, "square": torch.square}[op](x)))


def gradient(_):
    model = model_of()
    x = weft.distribute_tensor(torch.ones(3, 6), (None, None), line())
    loss = model(x).square().sum()
    spoil(model[2].weight, math.nan)
    with weft.check_finite():
        return error_of(lambda: (loss.backward(), weft.full_tensor(model[0].weight.grad)))


def in_place(_):
    model = model_of()
    p = model[0].weight
    with weft.check_finite(), torch.no_grad():
        spoil(p, 1e38)
        return error_of(lambda: weft.full_tensor(p.mul_(1e10)))


def in_list(_):
    model = model_of()
    parameters = [p.detach() for p in model.parameters()]
    spoil(model[2].weight, math.inf)
    with weft.check_finite():
        return error_of(lambda: weft.full_tensor(torch._foreach_mul(parameters, 2.0)[2]))


def complex_numbers(_):
    x = weft.distribute_tensor(torch.ones(4, dtype=torch.complex64), ("a",), line())
    spoil(x, complex(0, math.nan))
    with weft.check_finite():
        return error_of(lambda: weft.full_tensor(x * 2))


CASES = {
    "NaN in a weight": (weight, math.nan, ("NaN on rank 1", "from variable '0/weight', which had NaN before")),
    "Inf in a weight": (weight, math.inf, ("on rank 1", "from variable '0/weight', which had")),
    "NaN from an op": (made, "log", ("[log] makes NaN on rank 1 (",)),
    "Inf from an op": (made, "square", ("makes Inf on rank 1 (",)),
    "in the backward pass": (gradient, None, ("NaN on rank 1", "from variable '2/weight', which had NaN before")),
    "in place": (in_place, None, ("makes Inf on rank 1 from variable '0/weight' (", "[mul_")),
    "in a list": (in_list, None, ("[_foreach_mul.Scalar] makes Inf on rank 1 from variable '2/weight', which had",)),
    "complex": (complex_numbers, None, ("[mul.Tensor] makes NaN on rank 1, which had NaN before (",)),
}


@pytest.mark.parametrize("name", CASES)
def test_is_raised_by_all(name):
    run, argument, words = CASES[name]
    for rank, (kind, text, took) in enumerate(run_ranks(2, run, [argument])):
        assert kind == "RuntimeError" and all(word in text for word in words), text
        assert took < SOON and ("failed on rank 1" in text or rank == 1), text
        assert text.startswith("[W069] ") and text.count("[W0") == 1, "the code of the rank's own error, once, on all"


def no_alarm():
    """What makes -Inf on purpose, and the training of a model; uneven and empty parts too."""
    mesh = line()
    x = torch.randn(5, 7)
    found = {}
    with weft.check_finite():
        for axes in ((None, None), ("a", None), (None, "a")):
            s = weft.distribute_tensor(x, axes, mesh)
            mask = torch.ones(5, 7).triu(1).bool()
            scores = s.masked_fill(mask, -math.inf)
            found["softmax", axes] = scores.softmax(-1), x.masked_fill(mask, -math.inf).softmax(-1)
            added = s + torch.zeros(5, 7).masked_fill(mask, -math.inf)
            found["added", axes] = (
                (added * 2).log_softmax(-1).exp(),
                found["softmax", axes][1] * 0 + (x.masked_fill(mask, -math.inf) * 2).softmax(-1),
            )
            found["max", axes] = s.amax(1), x.amax(1)
            found["norm", axes] = nn.functional.layer_norm(s, (7,)), nn.functional.layer_norm(x, (7,))
            found["full", axes] = torch.full_like(s, math.inf).minimum(s), x
            found["one row", axes] = s[:1].softmax(0), x[:1].softmax(0)
            empty = torch.empty_like(s)
            found["empty", axes] = empty.copy_(s), x
            found["fill", axes] = torch.zeros_like(s).masked_fill_(mask, -math.inf).exp(), (~mask).float()
            found["pool", axes] = (
                nn.functional.max_pool1d(s[None], 3, 1, 1)[0],
                nn.functional.max_pool1d(x[None], 3, 1, 1)[0],
            )
            found["cross entropy", axes] = (
                nn.functional.cross_entropy(s, torch.arange(5)),
                nn.functional.cross_entropy(x, torch.arange(5)),
            )
        q = torch.randn(1, 2, 6, 4)
        for axes in ((None, "a", None, None), (None, None, "a", None)):
            s = weft.distribute_tensor(q, axes, mesh)
            attention = nn.functional.scaled_dot_product_attention
            found["attention", axes] = attention(s, s, s, is_causal=True), attention(q, q, q, is_causal=True)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))
    model = model_of()
    losses = []
    for m in (plain, model):
        optimizer = torch.optim.AdamW(m.parameters(), lr=0.1)
        with weft.check_finite(m is model):
            for _ in range(3):
                loss = nn.functional.mse_loss(m(torch.ones(3, 6)), torch.ones(3, 4))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(m.parameters(), 1.0)
                optimizer.step()
                losses.append(weft.full_tensor(loss).item())
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-4)
    return {name: (weft.full_tensor(got), expected) for name, (got, expected) in found.items()}


@pytest.mark.parametrize("world", [2, 4])
def test_no_false_alarm(request, world):
    for found in request.getfixturevalue(f"ranks{world}")(no_alarm):
        for got, expected in found.values():
            torch.testing.assert_close(got, expected)


def switched():
    x = weft.distribute_tensor(torch.tensor([-1.0, 1.0]), ("a",), line())
    torch.log(x)
    with weft.check_finite():
        inside = torch.ops.weft.check_finite(True)
    on_both = []
    weft.check_finite()
    for _ in range(2):  # alike on all ranks: work goes on
        on_both.append(error_of(lambda: torch.log(-weft.distribute_tensor(torch.ones(2), ("a",), line())))[1])
    weft.check_finite(False)
    return inside, torch.ops.weft.check_finite(False), on_both, weft.full_tensor(torch.log(-x)).isnan().sum().item()


def test_switch(ranks2):
    for rank, (inside, after, on_both, nans) in enumerate(ranks2(switched)):
        assert inside is True and after is False and nans == 1
        assert all(f"[log] makes NaN on rank {rank}" in text for text in on_both), on_both
