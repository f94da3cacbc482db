"""`weft.check` of modules, models and batches that are others on one rank, or where they are sharded."""

import pytest
import torch
import weft
from ranks.checked import HAND, Net, check_net, same_on_all, told
from ranks.meshes import line
from support.ranks import run_ranks
from torch import nn


class OfRank(nn.Module):
    def forward(self, x):
        return x * (1 + weft.rank())


class OfRankSharded(nn.Module):
    def forward(self, x):
        return x * (1 + weft.rank()) if weft.is_sharded(x) else x


class AnotherOp(nn.Module):
    def forward(self, x):
        return x.exp() if weft.is_sharded(x) and weft.rank() == 1 else x


class Asks(nn.Module):
    def forward(self, x):
        if weft.is_sharded(x) and weft.rank() == 1:
            x.sum().item()
        return x


class Raises(nn.Module):
    def __init__(self, ranks=None):
        super().__init__()
        self.ranks = ranks

    def forward(self, x):
        if weft.is_sharded(x) and (self.ranks is None or weft.rank() in self.ranks):
            raise KeyError("no such thing")
        return x


class RaisesOnOne(Raises):
    def __init__(self):
        super().__init__([1])


def own_way(cls):
    return told(check_net(globals()[cls]))


@pytest.mark.parametrize(
    ("world", "cls"),
    [(2, "OfRank"), (2, "OfRankSharded"), (3, "OfRankSharded"), (2, "AnotherOp"), (2, "Asks"), (2, "Raises"),
     (2, "RaisesOnOne"), (3, "RaisesOnOne")],
)  # fmt: skip
def test_a_module_that_differs_between_ranks_is_named(world, cls):
    found = same_on_all(run_ranks(world, own_way, [cls], timeout=60))
    first = found["first"]
    assert not found["ok"] and first.kind == ("ranks" if cls == "OfRank" else "error"), found["text"]
    assert first.module == f"between ({cls})", found["text"]
    words = {
        "OfRank": "the plain step differs between ranks: output of between (OfRank) is 72 elements",
        "OfRankSharded": "the output of between (OfRankSharded) is not as plain on every rank",
        "AnotherOp": "the output of between (AnotherOp) is not as plain on every rank",
        "Asks": "ranks ask for different collectives",
        "Raises": "raised on rank 0 what the plain one does not: KeyError: 'no such thing'",
        "RaisesOnOne": "raised on rank 1 what the plain one does not: KeyError: 'no such thing'",
    }
    assert words[cls] in first.text, first.text


def other_values(where):
    def make():
        net = Net(nn.ReLU())
        if where == "model":
            with torch.no_grad():
                net.last.bias += weft.rank()
        return net

    batch = torch.ones(6, 8) * (1 + weft.rank() * (where == "batch"))
    return told(weft.check(make, batch, weft.LayoutMap(line("model"), HAND)))


@pytest.mark.parametrize(
    ("where", "words"), [("model", "variable of last.bias"), ("batch", "output of first (Linear)")]
)
def test_models_and_batches_that_differ(ranks2, where, words):
    first = same_on_all(ranks2(other_values, where))["first"]
    assert first.kind == "ranks" and words in first.text and "rank 1" in first.text, first


class OtherNumber(nn.Module):
    """Each op is right by itself."""

    def forward(self, x):
        return x * (3 if weft.is_sharded(x) else 2)


class OtherOps(nn.Module):
    def forward(self, x):
        return x * 2 * 3 if weft.is_sharded(x) else x * 2


@pytest.mark.parametrize(("cls", "op"), [("OtherNumber", "aten::mul.Tensor"), ("OtherOps", "")])
def test_a_module_that_does_otherwise_where_sharded(ranks2, cls, op):
    """The op is named where the plain step has its like."""
    first = same_on_all(ranks2(own_way, cls))["first"]
    assert (first.kind, first.module, first.op) == ("forward", f"between ({cls})", op), first
