"""torch.distributed's own collectives where the dispatcher does not see a sharded tensor, or one rank alone has one.

What these do with sharded tensors is said in csrc/dispatch/process_groups.h. It is decided on each rank by itself, from
the tensors that it gives; where ranks give different ones by the function's design, they are compared first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from .after_import import replace_everywhere
from .tensors import is_sharded

_ROOTED = {"broadcast": ("tensor",), "scatter": ("tensor", "scatter_list"), "gather": ("tensor", "gather_list")}
_PLAIN, _SHARDED = 1, 2
_alike: ContextVar[bool] = ContextVar("alike", default=False)


def install() -> None:
    """Puts the comparison and the refusals in the place of torch.distributed's functions."""
    import torch.distributed as dist

    if not dist.is_available():
        return
    replace_everywhere(dist.reduce_scatter, _refusing_parts(dist.reduce_scatter))
    for name, arguments in _ROOTED.items():
        core = getattr(dist, name)
        replace_everywhere(core, _comparing(core, arguments))


@contextmanager
def not_compared() -> Iterator[None]:
    """While it is entered, all ranks are known to give plain tensors."""
    token = _alike.set(True)
    try:
        yield
    finally:
        _alike.reset(token)


def _refusing_parts(reduce_scatter: Callable) -> Callable:
    """The dispatcher does not look into lists of lists, as which the parts reach it."""

    @functools.wraps(reduce_scatter)
    def refusing(output: Any, input_list: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_sharded(output):
            for part in _tensors_of(input_list):
                if is_sharded(part):
                    raise ValueError(f"[W066] {torch.ops.weft._refusal_of_collective('c10d::reduce_scatter_', part)}")
        return reduce_scatter(output, input_list, *args, **kwargs)

    return refusing


def _comparing(core: Callable, arguments: tuple[str, ...]) -> Callable:
    """One rank, the root, gives tensors that the others do not: where one refuses, they would wait for it for ever."""
    signature = inspect.signature(core)

    @functools.wraps(core)
    def comparing(*args: Any, **kwargs: Any) -> Any:
        if torch.ops.weft._compared_before() and not _alike.get():
            given = signature.bind(*args, **kwargs).arguments
            if not given.get("async_op"):  # a comparison is waited for, which the caller does not expect there
                tensors = [t for name in arguments for t in _tensors_of(given.get(name))]
                _compare(f"c10d::{core.__name__}_", tensors, given.get("group"))
        return core(*args, **kwargs)

    return comparing


def _compare(op: str, tensors: list[torch.Tensor], group: Any) -> None:
    """Raises the same ValueError on all ranks of the group where some give sharded tensors, and some plain ones."""
    import torch.distributed as dist

    group = dist.group.WORLD if group is None else group
    # What NCCL alone carries is not compared, as that would wait for the GPU.
    if group is None or dist.get_rank(group) < 0 or torch.device("cpu") not in group._device_types:
        return
    kinds = {_SHARDED if is_sharded(t) else _PLAIN for t in tensors}
    all_kinds = [torch.zeros(1, dtype=torch.uint8) for _ in range(dist.get_world_size(group))]
    dist.all_gather(all_kinds, torch.tensor([sum(kinds)], dtype=torch.uint8), group=group)
    of_rank = [int(k) for k in all_kinds]
    if not any(k & _SHARDED for k in of_rank) or not any(k & _PLAIN for k in of_rank):
        return
    first = next(r for r, k in enumerate(of_rank) if k & _SHARDED)
    text = [""]
    if dist.get_rank(group) == first:
        plain = [str(dist.get_global_rank(group, r)) for r, k in enumerate(of_rank) if k & _PLAIN]
        why = f"rank{'s' * (len(plain) > 1)} {', '.join(plain)} of the world passed plain tensors to the same call"
        text[0] = torch.ops.weft._refusal_of_collective(op, next(t for t in tensors if is_sharded(t)), why)
    with not_compared():
        dist.broadcast_object_list(text, dist.get_global_rank(group, first), group)
    raise ValueError(f"[W066] {text[0]}")


def _tensors_of(given: Any) -> list[torch.Tensor]:
    several = given if isinstance(given, (list, tuple)) else [given]
    return [t for t in several if isinstance(t, torch.Tensor)]
