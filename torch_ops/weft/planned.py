"""What weft.plan found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .computing import ComputedOp, ComputeLog
from .costs import Cost
from .memory import Peak
from .mesh import DeviceMesh
from .notes import told
from .reporting import ReportNote
from .text_table import human, table
from .tracing import Trace, TraceRow

_SHOWN = 12  # rows of a table; all are in `variables`


class PlannedVariable(NamedTuple):
    """One variable, in bytes of this rank."""

    path: str
    shape: tuple[int, ...]  # the global one
    layout: str
    weight: int
    gradient: int
    optimizer: int

    @property
    def bytes(self) -> int:
        """The sum of all kinds."""
        return self.weight + self.gradient + self.optimizer


class Gathered(NamedTuple):
    """An op that has no rule for how its operands are split, and is run whole on every rank."""

    op: str
    reason: str
    calls: int
    bytes: int  # that are gathered


class Planned:
    """A training step on one rank. Prints as a report.

    Attributes:
        mesh: the simulated mesh.
        rank: whose part this is.
        peak: bytes that live at once at most: weights, gradients, optimizer, activations (all else), buffers, inputs.
        kinds: what they are at that time, most first.
        peak_op: the op at that time; empty: none of weft's.
        variables: bytes by variable.
        trace: the collectives of a step.
        computed: the ops of a step on this rank's parts, with their arithmetic and the bytes that they read and write.
        seconds: that a step takes, computing and sending one after the other, by `weft.cost` of the mesh.
        seconds_computing, seconds_sending: of these.
        flops: of a step on this rank.
        gathers: ops that gather their inputs, most bytes first.
        notes: dimensions that do not divide, variables without a layout, entries that match nothing.
    """

    def __init__(
        self,
        mesh: DeviceMesh,
        peak: Peak,
        variables: list[PlannedVariable],
        trace: Trace,
        computed: ComputeLog,
        gathers: list[Gathered],
        notes: list[ReportNote],
    ) -> None:
        self.mesh, self.rank = mesh, mesh.simulated_rank
        self.peak, self.kinds, self.peak_op = peak.bytes, peak.kinds, peak.op
        cost = Cost(mesh)
        self.computed: list[ComputedOp] = computed.ops(cost)
        self.flops = sum(op.flops for op in self.computed)
        self.seconds_computing = sum(op.seconds for op in self.computed)
        sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
        self.seconds_sending, self._source = seconds_of(trace.rows, cost, sizes), cost.source
        self.seconds = self.seconds_computing + self.seconds_sending
        self.variables, self.trace, self.gathers, self.notes = variables, trace, gathers, notes

    def json(self) -> str:
        """All of it as JSON; sizes in bytes."""
        rows: dict[tuple, list[int]] = {}
        for row in self.trace.rows:
            sums = rows.setdefault((row.kind, row.axis, row.op, row.path), [0, 0])
            sums[0] += 1
            sums[1] += row.bytes
        collectives = [
            {"kind": kind, "axis": axis, "op": op, "path": path, "calls": calls, "bytes": size}
            for (kind, axis, op, path), (calls, size) in rows.items()
        ]
        found: dict[str, Any] = {
            "mesh": dict(zip(self.mesh.axis_names, self.mesh.shape, strict=True)),
            "rank": self.rank,
            "peak": self.peak,
            "kinds": self.kinds,
            "peak_op": self.peak_op,
            "sent": self.trace.total_bytes,
            "seconds": self.seconds,
            "seconds_computing": self.seconds_computing,
            "seconds_sending": self.seconds_sending,
            "flops": self.flops,
            "computed": [op._asdict() for op in self.computed],
            "collectives": collectives,
            "variables": [v._asdict() for v in self.variables],
            "gathers": [g._asdict() for g in self.gathers],
            "notes": [n._asdict() for n in self.notes],
        }
        return json.dumps(found, indent=2)

    def __str__(self) -> str:
        axes = ", ".join(f"{n}={s}" for n, s in zip(self.mesh.axis_names, self.mesh.shape, strict=True))
        at = f", in {self.peak_op}" if self.peak_op else ""
        parts = [
            f"mesh ({axes}), rank {self.rank}: a step takes {human(self.peak)} at most{at}",
            table([("memory", "at that time"), *((k, human(size)) for k, size in self.kinds.items())], right=(1,)),
            str(self.trace),
            self._times(),
            self._variables(),
        ]
        if self.gathers:
            lines = [("gathered", "why", "calls", "bytes")]
            lines += [(g.op, g.reason, str(g.calls), human(g.bytes)) for g in self.gathers]
            parts.append(table(lines, right=(2, 3)))
        if self.notes:
            parts.append("\n".join(f"note: {text}" for _, text in told(self.notes)))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _times(self) -> str:
        computing = f"{self.seconds_computing * 1e3:.1f} ms for {self.flops / 1e9:.3g} GFLOP and its own memory"
        sending = f"{self.seconds_sending * 1e3:.1f} ms in collectives"
        return f"{self.seconds * 1e3:.1f} ms a step, if {self._source} costs hold: {computing}, {sending}"

    def _variables(self) -> str:
        rows = sorted(self.variables, key=lambda v: -v.bytes)
        lines = [("variable", "shape", "layout", "weight", "gradient", "optimizer")]
        for v in rows[:_SHOWN]:
            sizes = (human(v.weight), human(v.gradient), human(v.optimizer))
            lines.append((v.path, "x".join(map(str, v.shape)), v.layout, *sizes))
        rest = rows[_SHOWN:]
        if rest:
            weight, gradient = sum(v.weight for v in rest), sum(v.gradient for v in rest)
            optimizer = sum(v.optimizer for v in rest)
            lines.append((f"{len(rest)} more", "", "", human(weight), human(gradient), human(optimizer)))
        return table(lines, right=(3, 4, 5))


def seconds_of(rows: Iterable[TraceRow], cost: Cost, sizes: Mapping[str, int]) -> float:
    """That collectives take, one after the other, over mesh axes of those sizes."""
    total = 0.0
    for row in rows:
        if row.axis not in sizes:  # a few words that all ranks compare
            continue
        ranks = sizes[row.axis]
        held = row.bytes * ranks // (ranks - 1)
        if row.kind == "all_reduce":
            held //= 2
        total += cost.seconds("all_gather" if row.kind == "broadcast" else row.kind, row.axis, held)
    return total
