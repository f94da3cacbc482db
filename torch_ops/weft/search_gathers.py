"""What a first step gathers, as the steps after it do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from . import _library  # noqa: F401
from .tracing import TraceRow


def coming_ahead(rows: Iterable[TraceRow], ranks: Mapping[str, int]) -> tuple[list[TraceRow], int]:
    """The collectives of a first step, those of variables put together in buckets: from the second step on they are
    gathered ahead of their use, many small ones in one collective.

    Not those of a variable that needs several collectives, nor what gradients need. `ranks`: of each mesh axis. Then
    bytes that are copied out of buckets.
    """
    rows = list(rows)
    first_bytes, next_bytes = torch.ops.weft._gather_bytes()
    found: list[TraceRow] = []
    open_at: dict[str, int] = {}  # by axis: where in `found` the bucket is
    within: dict[str, set[str]] = {}  # by axis: the variables of the pass
    limit: dict[str, int] = {}
    copied = 0
    for i, row in enumerate(rows):
        beside = {r.axis for r in rows[max(0, i - 1) : i + 2] if r.path == row.path and r.op == row.op}
        if row.kind != "all_gather" or not row.path or row.op == "gradient" or len(beside) > 1:
            found.append(row)
            continue
        if row.path in within.setdefault(row.axis, set()) or row.axis not in limit:  # another pass
            within[row.axis], limit[row.axis] = set(), first_bytes
            open_at.pop(row.axis, None)
        within[row.axis].add(row.path)
        n = ranks[row.axis]
        at = open_at.get(row.axis)
        whole = row.bytes * n // (n - 1)
        copied += whole if whole <= next_bytes else 0
        together = row.bytes + (found[at].bytes if at is not None else 0)
        if at is not None and together * n // (n - 1) <= limit[row.axis]:
            found[at] = found[at]._replace(bytes=together, path="")
            continue
        if at is not None:
            limit[row.axis] = next_bytes
        open_at[row.axis] = len(found)
        found.append(row)
    return found, copied
