"""Models that `weft.check` is given, right ones and wrong ones, and what it tells of them."""

import torch
import weft
from ranks.meshes import line
from torch import nn

HAND = {"first/weight": ("model", None), "first/bias": ("model",), "last/weight": (None, "model")}


class Net(nn.Module):
    """Columns, something, rows, dropout."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last, self.drop = nn.Linear(8, 12), between, nn.Linear(12, 8), nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(self.last(self.between(self.first(x))))


def check_net(between, **options):
    return weft.check(
        lambda: Net(between()), torch.linspace(-1, 1, 48).view(6, 8), weft.LayoutMap(line("model"), HAND), **options
    )


def told(found):
    """What a rank was told; the bytes that it sent are its own."""
    return {"ok": found.ok, "text": str(found), "first": found.first, "outputs": found.outputs,
            "gradients": found.gradients, "notes": found.notes, "losses": (found.loss, found.sharded_loss)}  # fmt: skip


def same_on_all(results):
    first = results[0]
    for other in results[1:]:
        assert repr(other["first"]) == repr(first["first"]) and other["ok"] == first["ok"]
    return first


def center(x):
    return x - x.mean(-1, keepdim=True)


def define():
    """Ops of this test, with rules that are not true of them: each row's mean needs the whole row."""
    if hasattr(torch.ops.weft_check, "center"):
        return

    @torch.library.custom_op("weft_check::center", mutates_args=())
    def op(x: torch.Tensor) -> torch.Tensor:
        return center(x)

    @torch.library.custom_op("weft_check::double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @torch.library.custom_op("weft_check::double_backward", mutates_args=())
    def double_backward(g: torch.Tensor) -> torch.Tensor:
        return g * 2 + 0 * g.sum() + (g.shape[-1] != 12)  # of a part it gives another value

    for made in (op, double, double_backward):
        made.register_fake(torch.empty_like)
    op.register_autograd(lambda ctx, g: center(g))
    double.register_autograd(lambda ctx, g: double_backward(g))
    for name in ("center", "double", "double_backward"):
        weft.register_rule(f"weft_check::{name}", "m n -> m n")


class Centered(nn.Module):
    def forward(self, x):
        return torch.ops.weft_check.center(x)


class Doubled(nn.Module):
    def forward(self, x):
        return torch.ops.weft_check.double(x)
