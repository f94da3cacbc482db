"""Drawn programs do on sharded tensors what they do on plain ones: chains of views with writes, and programs of 20 ops.

WEFT_PROPERTIES=10 draws ten times as many. A failure is printed as Python text, without the lines that it does not need
(hypothesis would make the draws simpler, but what a line may be follows from all lines before it).
"""

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import programs
from support.cases import run_cases
from support.program_steps import OPS, VIEWS
from support.ranks import RankPool

TIMES = int(os.environ.get("WEFT_PROPERTIES", "1"))
SIZES = (1, 2, 3, 4, 5, 6, 8)
MESHES = {3: [(3,)], 4: [(4,), (2, 2)]}
Drawn = tuple[list[str], tuple[int, ...]]


def drawn(rng: random.Random, world: int, inputs: int, steps: list, count: int) -> Drawn:
    """A program, and the shape of the mesh that it runs on."""
    mesh = rng.choice(MESHES[world])
    sizes = tuple(rng.choice(SIZES) if rng.randrange(20) else 0 for _ in range(rng.randint(1, 3)))
    lines = []
    for k in range(inputs):  # alike but for some that broadcast
        mine = tuple(n if rng.randrange(4) else 1 for n in sizes) if k else sizes
        lines.append(f"x{k} = {programs.tensor(rng, mine, ('a', 'b')[: len(mesh)])}")
    return programs.extended(rng, lines, steps, count), mesh


def compared(program: Drawn) -> str:
    return run_cases({"": lambda: programs.compare(*program)})[""]


def failure(ranks: RankPool, program: Drawn) -> str:
    """What the first rank that it fails on says."""
    try:
        return next(filter(None, ranks(compared, program, timeout=30)), "")
    except AssertionError as e:  # a rank died, or hangs
        return str(e)


def shortened(ranks: RankPool, program: Drawn) -> Drawn:
    """The program without the lines that the failure does not need."""
    lines, mesh = program
    for line in reversed(lines):
        fewer = [other for other in lines if other != line]
        if programs.usable(fewer) and failure(ranks, (fewer, mesh)):
            lines = fewer
    return lines, mesh


def check_drawn(ranks: RankPool, world: int, inputs: int, steps: list, count: int, examples: int) -> None:
    @settings(
        max_examples=examples * TIMES,
        phases=[Phase.generate],
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.randoms(use_true_random=False))
    def holds(rng: random.Random) -> None:
        program = drawn(rng, world, inputs, steps, count)
        if failure(ranks, program):
            program = shortened(ranks, program)
            pytest.fail(f"{programs.text(*program)}\n{failure(ranks, program)}")

    holds()


@pytest.mark.parametrize("world", MESHES)
def test_views(world: int, request: pytest.FixtureRequest) -> None:
    check_drawn(request.getfixturevalue(f"ranks{world}"), world, 2, VIEWS, 6, examples=60)


@pytest.mark.parametrize("world", MESHES)
def test_programs(world: int, request: pytest.FixtureRequest) -> None:
    check_drawn(request.getfixturevalue(f"ranks{world}"), world, 3, OPS, 20, examples=15)
