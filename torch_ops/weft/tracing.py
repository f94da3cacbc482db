"""What the ranks send each other, collective by collective."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import torch

from . import _library, traced_programs  # noqa: F401
from .files import file_name, write_file
from .maps import distributed_modules
from .process import rank, world_size
from .text_table import human, table
from .trace_modules import ModuleCalls, Moment


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
        print(t.tree(depth=3))  # the same by modules
        t.chrome("trace.json")  # for chrome://tracing or ui.perfetto.dev

    Several may run at once; each sees every collective.

    Attributes:
        rows: the collectives, in order.
        modules: for each row the path of the innermost module that was running or, in a backward pass, in which the op
            ran whose gradient was computed; else the module of the row's variable; empty: none. Once torch.compile
            has recorded a sharded program, that of the row's variable only.
        moments: for each row when it was issued, and how long it took, what else was done meanwhile included.
    """

    def __init__(self, module: torch.nn.Module | None = None) -> None:
        self.rows: list[TraceRow] = []
        self.modules: list[str] = []
        self.moments: list[Moment] = []
        self._root = module
        self._number: int | None = None
        self._calls: ModuleCalls | None = None  # while it runs

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_root": None}  # what it saw, without the module

    def __enter__(self) -> Trace:
        if self._number is not None:
            raise RuntimeError("[W150] this trace is running already; make another with weft.trace()")
        # Hooks of modules are part of compiled programs, so that this rank alone would compile them anew.
        watched = (
            [] if traced_programs.has_recorded() else [self._root] if self._root is not None else distributed_modules()
        )
        self._calls = ModuleCalls(watched)
        self._calls.start()
        self._number = torch.ops.weft.trace_start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        number, self._number = self._number, None
        calls, self._calls = self._calls, None  # it does not keep modules alive
        assert calls is not None
        *columns, starts, durations, sequences = torch.ops.weft.trace_stop(number)
        calls.stop()
        rows = [TraceRow(*row) for row in zip(*columns, strict=True)]
        moments = [Moment(*moment) for moment in zip(starts, durations, sequences, strict=True)]
        ran = calls.paths(moments)
        self.rows += rows
        self.moments += moments
        self.modules += [m or _owner(row.path) for m, row in zip(ran, rows, strict=True)]

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

    def by_module(self, depth: int | None = None) -> dict[str, int]:
        """Bytes by module path, most first; paths are cut after `depth` words."""
        sums: Counter[str] = Counter()
        for row, path in zip(self.rows, self.modules, strict=True):
            sums["/".join(path.split("/")[:depth])] += row.bytes
        return dict(sums.most_common())

    def tree(self, depth: int | None = None) -> str:
        """A table of modules, each with all that was sent inside it; down to `depth` words of their paths."""
        calls: Counter[tuple[str, ...]] = Counter()
        sent: Counter[tuple[str, ...]] = Counter()
        took: Counter[tuple[str, ...]] = Counter()
        for row, path, moment in zip(self.rows, self.modules, self.moments, strict=True):
            words = tuple(path.split("/")) if path else ("(no module)",)
            for place in _places(words[:depth]):
                calls[place] += 1
                sent[place] += row.bytes
                took[place] += moment.duration
        lines = [("module", "calls", "sent", "ms")]
        for place in _nested(calls):
            name = "  " * len(place) + place[-1] if place else "all"
            lines.append((name, str(calls[place]), human(sent[place]), f"{took[place] / 1e6:.2f}"))
        return table(lines, right=(1, 2, 3))

    def chrome(self, path: str | os.PathLike) -> None:
        """Writes this rank's collectives as a Chrome trace: a line of events for each mesh axis.

        Ranks are different processes in it, with the clock of their machine: files of several can be put together. Of
        ranks that are given one path the last one's file stays, whole.

        Raises:
            ValueError: it cannot be written; a file that was there is as it was.
        """
        file = file_name(path, "chrome: path")
        events: list[dict] = []
        lines = {axis: line for line, axis in enumerate(dict.fromkeys(row.axis for row in self.rows))}
        for row, module, moment in zip(self.rows, self.modules, self.moments, strict=True):
            subject = f" {row.path}" if row.path else f" [{row.op}]" if row.op else ""
            args = {**row._asdict(), "module": module}
            place = {"pid": rank(), "tid": lines[row.axis], "ts": moment.start / 1e3, "dur": moment.duration / 1e3}
            events.append({"name": row.kind + subject, "cat": row.kind, "ph": "X", **place, "args": args})
        names = [(0, "process_name", f"rank {rank()}"), *((n, "thread_name", f"axis {a}") for a, n in lines.items())]
        for line, kind, name in names:
            events.append({"name": kind, "ph": "M", "pid": rank(), "tid": line, "args": {"name": name}})
        write_file(file, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())

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


def trace(module: torch.nn.Module | None = None) -> Trace:
    """A trace to use as `with weft.trace() as t:`.

    Args:
        module: whose modules' paths it tells; default: all modules that were distributed.
    """
    return Trace(module)


def _owner(path: str) -> str:
    """The module that a variable's path names; "" for a row of several variables ("a/weight and 3 more")."""
    return "" if " and " in path else path.rpartition("/")[0]


def _places(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The place and those that it lies in, the outermost first."""
    return (words[:n] for n in range(len(words) + 1))


def _nested(places: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Each place followed by those inside it: numbers by size, others as they first came."""
    order = {p: (int(p[-1]) if p and p[-1].isdecimal() else n, p) for n, p in enumerate(places)}
    return sorted(order, key=lambda place: [order[outer] for outer in _places(place)])
