"""What the additional samples are made of."""

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten


def r(*sizes: int, grad: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(sizes, dtype=dtype).requires_grad_(grad)


def ids(high: int, *sizes: int) -> torch.Tensor:
    return torch.randint(0, high, sizes)


Sample = tuple[str, Callable[..., Any], tuple]
