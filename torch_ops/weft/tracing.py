"""What the ranks send each other, collective by collective."""

from __future__ import annotations

import math
from collections import Counter
from types import TracebackType
from typing import NamedTuple

import torch

from . import _library  # noqa: F401
from .process import world_size


class TraceRow(NamedTuple):
    """One collective."""

    op: str  # the op that caused it: "mm", "full_tensor", "gradient"
    kind: str  # "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"
    axis: str  # the mesh axis it ran over
    bytes: int  # that this rank sends: all-reduce 2(n-1)/n of the tensor, the others (n-1)/n
    path: str  # of the variable it came from; empty: none among the op's operands


class Trace:
    """The collectives that this process took part in between entering and leaving.

        with weft.trace() as t:
            loss.backward()
        print(t)                # a table
        t.count("all_reduce"), t.total_bytes, t.rows

    Several may run at once; each sees every collective.
    """

    def __init__(self) -> None:
        self.rows: list[TraceRow] = []
        self._number: int | None = None

    def __enter__(self) -> Trace:
        if self._number is not None:
            raise RuntimeError("this trace is running already; make another with weft.trace()")
        self._number = torch.ops.weft.trace_start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        number, self._number = self._number, None
        self.rows += [TraceRow(*row) for row in zip(*torch.ops.weft.trace_stop(number), strict=True)]

    @property
    def total_bytes(self) -> int:
        """That this rank sent."""
        return sum(row.bytes for row in self.rows)

    def count(self, kind: str | None = None, *, op: str | None = None, axis: str | None = None) -> int:
        """How many collectives of that kind, caused by that op, over that axis."""
        return sum(
            (kind is None or r.kind == kind) and (op is None or r.op == op) and (axis is None or r.axis == axis)
            for r in self.rows
        )

    def by_kind(self) -> dict[str, int]:
        """Bytes by kind, most first."""
        return self._sum("kind")

    def by_op(self) -> dict[str, int]:
        """Bytes by op, most first."""
        return self._sum("op")

    def by_axis(self) -> dict[str, int]:
        """Bytes by mesh axis, most first."""
        return self._sum("axis")

    def by_path(self) -> dict[str, int]:
        """Bytes by the variable's path, most first."""
        return self._sum("path")

    def _sum(self, field: str) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for row in self.rows:
            sums[getattr(row, field)] += row.bytes
        return dict(sums.most_common())

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        if not self.rows:
            alone = " (a world of one process has none)" if world_size() == 1 else ""
            return f"no collectives{alone}"
        sums: Counter[tuple] = Counter()
        counts: Counter[tuple] = Counter()
        for row in self.rows:
            key = (row.kind, row.axis, row.op, row.path)
            sums[key] += row.bytes
            counts[key] += 1
        lines = [("collective", "axis", "op", "variable", "calls", "sent")]
        lines += [(*key, str(counts[key]), human(size)) for key, size in sums.most_common()]
        lines += [("total", "", "", "", str(len(self.rows)), human(self.total_bytes))]
        for kind, size in self.by_kind().items():
            lines.append((f"  {kind}", "", "", "", str(self.count(kind)), human(size)))
        return table(lines, right=(4, 5))

    __repr__ = __str__


def trace() -> Trace:
    """A trace to use as `with weft.trace() as t:`."""
    return Trace()


def human(size: float) -> str:
    """Bytes for people: 1.5 MiB."""
    if size < 1024:
        return f"{size:.0f} B"
    power = min(int(math.log(size, 1024)), 4)
    return f"{size / 1024**power:.1f} {('', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def table(lines: list[tuple], right: tuple[int, ...] = ()) -> str:
    """Aligned columns; those in `right` to the right."""
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    out = []
    for line in lines:
        cells = [
            cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
