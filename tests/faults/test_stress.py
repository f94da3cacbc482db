"""Random programs whose ranks part, and the same without."""

from collections.abc import Iterator

import pytest
from faults import stress
from support.forks import Forks

PROGRAMS = range(16)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def test_ranks_that_part(forks: Forks) -> None:
    counts, failures = stress.run_all(forks, PROGRAMS)
    assert not failures, "\n".join(failures)
    assert counts["error"] > len(PROGRAMS) / 2, counts


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_ranks_in_step(forks: Forks, seed: int) -> None:
    found, words = stress.run(forks, seed, faulty=False)
    assert found == "right", words
