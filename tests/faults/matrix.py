"""How the rows of the fault matrix are run, and what is made of their ends."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import weft
from faults.part import ODD, Part
from faults.row import Row
from faults.rows import ROWS
from support.forks import Forks, RankEnd

SLACK = 3  # the machine is shared


@dataclass
class Verdict:
    failures: list[str]
    seconds: float | None  # from the fault until the last rank has raised
    message: str  # of the first rank that raised


def run(forks: Forks, row: Row, late: str = "", seed: int = 0) -> Verdict:
    options = {"group_timeout": row.group_timeout, "absent": row.absent, "env": row.env}
    return judge(row, forks(row.ranks, play, row.name, late, seed, **options))


def play(tell: Callable, name: str, late: str, seed: int) -> None:
    ROWS[name].program(Part(tell, True, late, seed))


def run_controls(forks: Forks, ranks: int) -> list[str]:
    """All programs for so many ranks without their faults, in one world: what failed."""
    ends = forks(ranks, play_controls, ranks, timeout=120)
    told = [(rank, e) for rank, end in enumerate(ends) for e in [*end.of("raised"), *end.of("wrong")]]
    failures = [f"rank {rank}: {e.kind} {e.data}" for rank, e in told]
    ended = [(rank, end) for rank, end in enumerate(ends) if end.hung or end.exit]
    return failures + [f"rank {rank}: {end.hung} {end.exit} {end.output[-3000:]}" for rank, end in ended]


def play_controls(tell: Callable, ranks: int) -> None:
    for row in ROWS.values():
        if row.control and row.ranks == ranks and not row.env:
            with weft.random_mode("counter"):
                row.program(Part(lambda kind, *data, at=row.name: tell(kind, at, *data), faulty=False))


def judge(row: Row, ends: list[RankEnd]) -> Verdict:
    failures, exits = [], row.exits
    living = {r: e for r, e in enumerate(ends) if r not in exits and r not in row.absent}
    for rank, end in enumerate(ends):
        for event in end.of("wrong"):
            failures.append(f"rank {rank}: WRONG {event.data[0]}")
        if end.hung:
            failures.append(f"rank {rank} HANGS in {end.hung}\n{end.output[-3000:]}")
        elif end.exit != exits.get(rank, 0) and rank in (*living, *exits):
            failures.append(f"rank {rank} ABORTS: exit {end.exit}\n{end.output[-600:]}")
    raised = {r: e.of("raised")[0] for r, e in living.items() if e.of("raised")}
    texts = {r: e.data[0].split("\nException raised from")[0] for r, e in raised.items()}
    if row.expect == "right":
        failures += [f"rank {r} raises {t}" for r, t in texts.items()]
    marks = [e.time for end in ends for e in end.of("mark")[:1]]
    seconds = max(e.time for e in raised.values()) - max(marks) if raised and marks else None
    if row.expect == "error":
        needed = [r for r in living if r not in row.silent]
        failures += [f"rank {r}: NO ERROR" for r in needed if r not in texts]
        if seconds is not None and seconds > row.within * SLACK:
            failures.append(f"LATE: {seconds:.2f} s: {texts}")
        if row.same and len(set(texts.values())) > 1:
            failures.append(f"not the same words: {texts}")
    if row.expect != "right":
        for rank, text in texts.items():
            failures += [f"rank {rank}: does not name {n!r}: {text}" for n in row.names if not re.search(n, text)]
    if row.output:
        printed = [r for r, end in living.items() if r != ODD and re.search(row.output, end.output)]
        if not printed:
            failures.append(f"no rank prints {row.output!r}: {[e.output[-300:] for e in living.values()]}")
    return Verdict(failures, seconds, next(iter(texts.values()), ""))
