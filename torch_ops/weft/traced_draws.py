"""Random values in compiled programs: as op by op.

A draw on sharded tensors is recorded as a key, which is drawn at each run, and as values that follow from it
(csrc/composites/recorded_draws.h). Keys are drawn in the program's order, on all ranks.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch.fx import Graph, Node

_KEY, _REPLAYED = "weft::_draw_key", "weft::_replayed"


def install() -> None:
    """How compilers see the recorded ops."""
    torch.library.register_fake(_KEY)(lambda device: torch.empty((), dtype=torch.int64))
    for name in ("weft::_drawn", _REPLAYED):
        torch.library.register_fake(name)(_empty)


def _empty(*args: Any) -> torch.Tensor:
    sizes, strides, dtype, device = args[-4:]
    return torch.empty_strided(sizes, strides, dtype=dtype, device=device)


def draws(node: Node) -> bool:
    """Whether it takes values from a generator."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def begins_draw(node: Node) -> bool:
    """Whether it draws the key of a draw, or in replay mode the values themselves."""
    return getattr(node.target, "_name", "") in (_KEY, _REPLAYED)


def as_op_by_op(graph: Graph, sharded: bool) -> contextlib.AbstractContextManager[Any]:
    """While it lives, Inductor draws in the program's order and from torch's own generator, where sharded tensors are.

    It would draw all seeds in a place of its own, and may move what it does not know, on some ranks alone.
    """
    if not sharded or not any(map(draws, graph.nodes)):
        return contextlib.nullcontext()
    import torch._inductor.config

    return torch._inductor.config.patch(fallback_random=True)
