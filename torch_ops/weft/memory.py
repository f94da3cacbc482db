"""What a program takes of memory, as core's allocators give and take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple

import torch

from . import _library  # noqa: F401

OTHER = "activations"  # what is none of the kinds that were named
SCRATCH = "kernels' own"


class Peak(NamedTuple):
    """The most that lived at once."""

    bytes: int
    kinds: dict[str, int]  # of what kinds it was
    op: str  # that took the last of it; empty: none of weft's


class MemoryLog:
    """A record of the memory taken and given back while it is entered, of this thread's on the CPU and of the meta
    device's, whose tensors have a size alone.

        with MemoryLog() as log:
            begin = log.mark()
            loss.backward()
            log.name("gradients", grads)
        log.peak(begin)
    """

    def __init__(self) -> None:
        self._blocks: list[int] = []
        self._bytes: list[int] = []
        self._ops: list[str] = []
        self._kinds: dict[int, str] = {}

    def __enter__(self) -> MemoryLog:
        torch.ops.weft._memory_log_start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._blocks, self._bytes, self._ops, _ = torch.ops.weft._memory_log_stop()

    def mark(self) -> int:
        """Where the record is now."""
        return torch.ops.weft._memory_log_length()

    def name(self, kind: str, tensors: list[torch.Tensor]) -> None:
        """The memory of these is of that kind, unless it was named before."""
        for tensor in tensors:
            self._kinds.setdefault(torch.ops.weft._memory_block(tensor), kind)

    def peak(self, begin: int = 0, end: int | None = None, scratch: Iterable[tuple[int, int]] = ()) -> Peak:
        """The most that lived at once between two marks, what had been taken before `begin` included. After the end.

        `scratch`: marks at which kernels had that many bytes more than the record shows.
        """
        last = len(self._bytes) if end is None else end
        more: dict[int, int] = {}
        for mark, size in scratch:
            more[mark - 1] = max(size, more.get(mark - 1, 0))
        most, place = -1, 0
        for i, total in enumerate(self._totals(last)):
            if i >= begin and total + more.get(i, 0) > most:
                most, place = total + more.get(i, 0), i
        live: dict[int, int] = {}
        for block, size in zip(self._blocks[: place + 1], self._bytes, strict=False):
            if size > 0:
                live[block] = size
            else:
                live.pop(block, None)
        kinds: Counter[str] = Counter()
        for block, size in live.items():
            kinds[self._kinds.get(block, OTHER)] += size
        if place in more:
            kinds[SCRATCH] += more[place]
        return Peak(max(most, 0), dict(kinds.most_common()), self._ops[place] if self._ops else "")

    def _totals(self, last: int) -> list[int]:
        """That lives after each entry. What was taken before the record began does not count."""
        live: dict[int, int] = {}
        total, totals = 0, []
        for block, size in zip(self._blocks[:last], self._bytes, strict=False):
            if size > 0:
                total += size - live.get(block, 0)  # another thread gave it back
                live[block] = size
            else:
                total -= live.pop(block, 0)
            totals.append(total)
        return totals
