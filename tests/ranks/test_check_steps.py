"""`weft.check` where a module runs more ops on sharded tensors than on plain ones."""

import pytest
import torch
import weft
from ranks.checked import Centered, Doubled, check_net, define, same_on_all, told
from torch import nn


class Winding(nn.Module):
    """Right, by more ops where its input is sharded."""

    def forward(self, x):
        if weft.is_sharded(x):
            return ((x * 3) * 2 - x * 5) * 1.5
        return x * 1.5


class Between(nn.Module):
    def __init__(self, wrong, before):
        super().__init__()
        self.parts = nn.ModuleList([Winding(), wrong(), Winding()] if before else [wrong(), Winding(), Winding()])

    def forward(self, x):
        for part in self.parts:
            x = part(x) * 2
        return x


class WindingItself(nn.Module):
    """The wrong op is not the first of the ops that the plain step has not."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.generator = wrong, torch.Generator().manual_seed(3)

    def forward(self, x):
        x = x * torch.bernoulli(torch.full_like(x, 0.5), generator=self.generator)
        y = x * 2
        y = y * 1 * 1 if weft.is_sharded(y) else y
        op = torch.ops.weft_check.center if self.wrong == "forward" else torch.ops.weft_check.double
        return op(y * 3)


WRONG = {"forward": Centered, "backward": Doubled, "nothing": nn.ReLU}
WHERE = {
    "before": lambda wrong: Between(WRONG[wrong], True),
    "after": lambda wrong: Between(WRONG[wrong], False),
    "itself": WindingItself,
}


def winding(wrong, where):
    define()
    return told(check_net(lambda: WHERE[where](wrong)))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("wrong", ["forward", "backward"])
def test_more_ops_where_sharded(ranks2, wrong, where):
    """Neither they nor what comes after them is blamed."""
    found = same_on_all(ranks2(winding, wrong, where))
    op = "center" if wrong == "forward" else "double_backward (backward of weft_check::double)"
    kind = WRONG[wrong].__name__
    module = {"before": f"between.parts.1 ({kind})", "after": f"between.parts.0 ({kind})"}
    first = found["first"]
    assert first.op == f"weft_check::{op}" and not found["ok"], found["text"]
    assert first.module == module.get(where, "between (WindingItself)"), found["text"]


def test_right_by_more_ops(ranks2):
    assert same_on_all(ranks2(winding, "nothing", "before"))["ok"]
