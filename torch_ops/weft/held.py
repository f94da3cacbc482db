"""Who holds tensors beside Python."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist

from . import _library  # noqa: F401


def group_names() -> list[str]:
    """Of all process groups that torch.distributed has made."""
    return list(dist.distributed_c10d._world.pg_names.values()) if dist.is_available() else []


def held(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Those that a live autograd graph or C++ code uses."""

    def found(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        return [t for t in tensors if t._use_count() > 1]

    if not (seeming := found(tensors)):
        return []
    # Gloo's workers let go of what a collective was given only after they have woken who waits for it.
    torch.ops.weft._await_workers(group_names())
    return found(seeming)
