"""Ops over a split dimension lie in memory as core's do, whatever order their input has."""

import pytest
import torch
import torch.nn.functional as F
import weft
from support.cases import every_layout

OPS = {
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[2:]),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "log_softmax without gradient": lambda x: x.detach().log_softmax(1),
}


def strides_apart(name: str) -> list[str]:
    """Where strides, dropout replayed on the result, or its gradient are not the plain op's."""
    mesh = weft.DeviceMesh((2,), ("x",), device_type="cpu")
    wrong = []
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)):
        back = [order.index(d) for d in range(4)]
        plain = torch.randn(4, 6, 4, 8).permute(order).contiguous().permute(back).requires_grad_()
        want = F.dropout(seeded(OPS[name](plain)), 0.5)
        for layout in every_layout(mesh, plain.dim(), partial=False):
            with weft.random_mode("replay"):
                result = OPS[name](weft.distribute_tensor(plain, layout))
                if result.stride() != OPS[name](plain).stride():
                    wrong.append(f"{order} {layout}: {result.stride()}")
                got = weft.full_tensor(F.dropout(seeded(result), 0.5))
            if not torch.allclose(got, want, atol=1e-5):
                wrong.append(f"{order} {layout}: other values")
    return wrong


def seeded(x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    return x


@pytest.mark.parametrize("name", OPS)
def test_lies_as_plain(ranks2, name):
    for wrong in ranks2(strides_apart, name):
        assert wrong == []
