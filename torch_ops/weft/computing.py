"""What a rank computes, op by op, and how long that takes."""

from __future__ import annotations

import functools
import itertools
import json
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import flop_registry

from . import _library  # noqa: F401
from .costs import Cost
from .scratch import WITH_SCRATCH, scratch_bytes

# Their first operand is a table of which they read, or in place write, as much as the others say.
_BY_INDEX = {"embedding", "index_select", "index", "gather", "take", "index_put", "index_add", "scatter", "scatter_add"}
_BEFORE_OP = '{"op":"'
_NOTHING = ("empty", "new_empty", "set_", "resize_", "_unsafe_view")  # beginnings of names; they touch no value


class ComputedOp(NamedTuple):
    """Calls of one op on a rank's own parts."""

    op: str
    calls: int
    flops: int  # by the formulas of torch.utils.flop_counter, which has them for products, convolutions and attention
    bytes: int  # read and written
    seconds: float


class ComputeLog:
    """A record of the ops that this rank's kernels are called for while it is entered. Shapes are enough.

    with ComputeLog() as log:
        loss.backward()
    log.ops(weft.cost(mesh))
    """

    def __init__(self) -> None:
        self._calls: list[tuple[str, int]] = []
        self._ends: list[list[int]] = []  # of each: where the record of memory was

    def __enter__(self) -> ComputeLog:
        torch.ops.weft._compute_log_start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        texts, calls, ends = torch.ops.weft._compute_log_stop()
        self._calls += zip(texts, calls, strict=True)
        at = iter(ends)
        self._ends += [list(itertools.islice(at, count)) for count in calls]

    def ops(self, cost: Cost) -> list[ComputedOp]:
        """The ops by name, those that take longest first. It is asked after the end."""
        found: dict[str, ComputedOp] = {}
        for text, calls in self._calls:
            name, flops, size = _work(text)
            seconds = max(flops / 2 / cost.products_per_second, size / cost.memory_bytes_per_second)
            before = found.get(name, ComputedOp(name, 0, 0, 0, 0.0))
            found[name] = ComputedOp(
                name,
                before.calls + calls,
                before.flops + calls * flops,
                before.bytes + calls * size,
                before.seconds + calls * seconds,
            )
        return sorted((op for op in found.values() if op.seconds > 0), key=lambda op: -op.seconds)

    def scratch(self) -> list[tuple[int, int]]:
        """Where in the record of memory kernels took scratch memory of their own, and how many bytes."""
        sizes = [_scratch(text) for text, _ in self._calls]
        return [(end, size) for size, ends in zip(sizes, self._ends, strict=True) if size for end in ends]


@functools.lru_cache(maxsize=1 << 12)
def _scratch(text: str) -> int:
    op = text[len(_BEFORE_OP) : text.index('"', len(_BEFORE_OP))]
    return scratch_bytes(json.loads(text)) if op in WITH_SCRATCH else 0


@functools.lru_cache(maxsize=1 << 16)
def _work(text: str) -> tuple[str, int, int]:
    """Name, floating point operations and bytes of a call."""
    call = json.loads(text)
    return call["op"].removeprefix("aten::"), _flops(call), _bytes(call)


def _packet(call: dict[str, Any]) -> Any:
    namespace, name = call["op"].split("::")
    return getattr(getattr(torch.ops, namespace), name)


def _flops(call: dict[str, Any]) -> int:
    packet = _packet(call)
    formula = _OWN_FORMULAS.get(packet) or flop_registry.get(packet)
    if formula is None:
        return 0
    arguments = getattr(packet, call["overload"] or "default")._schema.arguments
    positional = [_tensors(v) for v, a in zip(call["args"], arguments, strict=True) if not a.kwarg_only]
    keywords = {a.name: _tensors(v) for v, a in zip(call["args"], arguments, strict=True) if a.kwarg_only}
    results = [_tensors(v) for v in call["results"]]
    return int(formula(*positional, **keywords, out_val=results[0] if len(results) == 1 else tuple(results)))


def _bytes(call: dict[str, Any]) -> int:
    name = call["op"].partition("::")[2]
    if name.startswith(_NOTHING):
        return 0
    arguments = getattr(_packet(call), call["overload"] or "default")._schema.arguments
    read = [_size(v) for v in call["args"]]
    written = [a.alias_info is not None and a.alias_info.is_write for a in arguments]
    made = 0 if any(written) else sum(map(_size, call["results"]))
    if name.rstrip("_") in _BY_INDEX:
        return sum(read[1:]) + made + (sum(read[1:]) if any(written) else made)
    return sum(size * (2 if w else 1) for size, w in zip(read, written, strict=True)) + made


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return value["bytes"]
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _tensors(value: Any) -> Any:
    """Described tensors as ones without memory."""
    if isinstance(value, dict):
        return torch.empty(value["shape"], device="meta")
    return [_tensors(v) for v in value] if isinstance(value, list) else value


def _grouped_mm_flops(a: torch.Tensor, b: torch.Tensor, *_: Any, **__: Any) -> int:
    """Groups of a's rows, or of the inner dimension, with a matrix each: every row meets one."""
    return 2 * a.numel() * b.shape[-1]


_OWN_FORMULAS = {torch.ops.aten._grouped_mm: _grouped_mm_flops}  # what the registry lacks
