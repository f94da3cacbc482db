"""Figures of the benchmarks in a file that `tools/bench/all` collects; without it `note` does nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Sequence

FILE = "WEFT_FIGURES"  # of the environment: where figures go, a line of JSON each


@dataclasses.dataclass(frozen=True)
class Figure:
    """Weft beside a peer, in one run: a ratio below 1 says that Weft needs less.

    `ours` and `theirs` are in `unit`; the ratio is of rounds in which both took their turn where there are such, and
    then lies between `low` and `high`. A headline is shown in the README, all else in docs/results/figures.md.
    """

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float | None
    high: float | None
    goal: float | None
    headline: bool


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and between which values it lies at 95 % confidence: the binomial's quantiles, a half with each."""
    low = max(0, int(len(values) / 2 - 0.98 * len(values) ** 0.5))
    ordered = sorted(values)
    return statistics.median(values), ordered[low], ordered[-1 - low]


def note(
    name: str,
    peer: str,
    unit: str,
    ours: float | Sequence[float],
    theirs: float | Sequence[float],
    *,
    goal: float | None = None,
    headline: bool = True,
) -> None:
    """Notes one figure: of two numbers, or of two rows of numbers, round by round."""
    if FILE not in os.environ:
        return
    if isinstance(ours, Sequence) and isinstance(theirs, Sequence):
        ratio, low, high = interval([a / b for a, b in zip(ours, theirs, strict=True)])
        values = Figure(
            name, peer, unit, statistics.median(ours), statistics.median(theirs), ratio, low, high, goal, headline
        )
    else:
        assert isinstance(ours, float | int) and isinstance(theirs, float | int)
        values = Figure(name, peer, unit, ours, theirs, max(ours, 0.0) / theirs, None, None, goal, headline)
    with open(os.environ[FILE], "a") as file:
        file.write(json.dumps(dataclasses.asdict(values)) + "\n")


def read(path: str) -> list[Figure]:
    """What a benchmark has noted; nothing where it has noted none."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [Figure(**json.loads(line)) for line in file]
