"""Steps that only repeat themselves: a frozen one makes no plan."""

import pytest
import torch
import weft
from ranks.meshes import line
from support.cases import same
from support.ranks import run_ranks
from torch import nn

MEGATRON = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a")}


def model_and_step(mesh, sizes):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)).double()
    if mesh is not None:
        weft.distribute_module(model, MEGATRON, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters())

    def step(batch):
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return model, step, [torch.randn(n, 6, dtype=torch.float64) for n in sizes]


def repeats():
    """A frozen step is the step; what it does for the first time is refused, and nothing is changed."""
    mesh, texts = line(), []
    model, step, (batch, other) = model_and_step(mesh, (4, 5))
    plain, plain_step, _ = model_and_step(None, (4, 5))
    for _ in range(2):
        step(batch), plain_step(batch)
    planned = torch.ops.weft.plan_counts()
    with weft.frozen():
        same(step(batch), plain_step(batch))
        with torch.no_grad(), pytest.raises(RuntimeError, match=r"\[W074\]") as error:
            model(other)
        texts.append(str(error.value).splitlines()[0])
        written = weft.distribute_tensor(torch.ones(5, 6), ("a", None), mesh)
        with pytest.raises(RuntimeError, match=r"\[W074\] \[add_.Tensor\]"):
            written.add_(torch.ones(5, 6))
        same(written, torch.ones(5, 6))
        with weft.frozen(False):
            written.add_(torch.ones(5, 6))
        same(written, torch.full((5, 6), 2.0))
    same(step(batch), plain_step(batch))
    assert torch.ops.weft.plan_counts()[0] == planned[0] + 1, "the frozen steps made plans"
    same(model(other), plain(other))
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        same(p, q)
    return texts


def one_rank_alone():
    """Told to the others, which wait for it."""
    mesh = line()
    x = weft.distribute_tensor(torch.ones(4, 4), ("a", None), mesh)
    with weft.frozen(weft.rank() == 1), pytest.raises(RuntimeError) as error:
        (x * 3).sum().item()
    return str(error.value)


@pytest.mark.parametrize("ranks", [2, 3])
def test_frozen(request, ranks):
    for texts in request.getfixturevalue(f"ranks{ranks}")(repeats):
        assert "[addmm] there is no plan yet for f64[12@a], f64[5, 6], f64[6, 12@a], and" in texts[0]
        assert "weft.frozen() lets none be made: run the same step before it" in texts[0]


def test_one_rank_alone():
    for text in run_ranks(2, one_rank_alone):  # processes of their own: they are out of step afterwards
        assert "[mul.Tensor] there is no plan yet for f32[4@a, 4], and weft.frozen()" in text
