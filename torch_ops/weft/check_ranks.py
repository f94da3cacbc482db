"""What the ranks of weft.check tell each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import coded
from .process import world_size


def together(call: Callable[[], Any]) -> Any:
    """What it returns. Where it raises on one rank, all raise: that rank its own error."""
    out, error = None, None
    try:
        out = call()
    except Exception as e:
        error = e
    texts = gathered(f"{type(error).__name__}: {error}" if error is not None else "")
    if error is not None:
        raise error
    for r, text in enumerate(texts):
        if text:
            raise RuntimeError(coded("W094", f"check: rank {r} raised {text}"))
    return out


def gathered(mine: Any) -> list:
    """The ranks' values, in order."""
    if world_size() == 1:
        return [mine]
    import torch.distributed as dist

    everyone: list = [None] * world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
