"""PyTorch's own ops and samples (op_db and the foreach databases)."""

import fnmatch
import random
from functools import cache
from itertools import islice
from typing import Any

import torch

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "int64": torch.int64,
    "bool": torch.bool,
    "bfloat16": torch.bfloat16,
    "complex64": torch.complex64,
}
MOST = 200  # samples of one op


@cache
def ops() -> dict[str, Any]:
    from torch.testing._internal import common_methods_invocations as invocations

    found: dict[str, Any] = {}
    kinds = ("unary", "binary", "pointwise", "reduce", "other")
    foreach = [op for kind in kinds for op in getattr(invocations, f"foreach_{kind}_op_db")]
    for op in [*invocations.op_db, *foreach]:
        found.setdefault(full_name(op), op)
    return found


def full_name(op: Any) -> str:
    return op.name + (f"[{op.variant_test_name}]" if op.variant_test_name else "")


def is_foreach(op: Any) -> bool:
    return op.name.startswith("_foreach_")


def names(only: str | None, dtype: str) -> list[str]:
    """The names of ops that support `dtype`; `only`: names or patterns, by commas."""
    out = [name for name, op in ops().items() if DTYPES[dtype] in op.supported_dtypes("cpu")]
    if only:
        patterns = only.split(",")
        out = [n for n in out if any(n == p or fnmatch.fnmatch(n, p) for p in patterns)]
    return out


def samples(op: Any, dtype: torch.dtype, limit: int | None) -> list[Any]:
    torch.manual_seed(3)
    random.seed(3)
    grad = dtype.is_floating_point or dtype.is_complex
    grad = grad and op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    found = list(islice(op.sample_inputs("cpu", dtype, requires_grad=grad), MOST))
    if limit is None or len(found) <= limit:
        return found
    return [found[i * len(found) // limit] for i in range(limit)]
