"""The fault matrix: each row with its fault; and all of them without, which must raise nothing."""

from collections.abc import Iterator

import pytest
from faults.matrix import run, run_controls
from faults.row import Row
from faults.rows import ROWS
from support.forks import Forks


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_fault(forks: Forks, row: Row) -> None:
    assert not (failures := run(forks, row).failures), "\n".join(failures)


@pytest.mark.parametrize("ranks", sorted({row.ranks for row in ROWS.values()}))
def test_without_faults(forks: Forks, ranks: int) -> None:
    assert not (failures := run_controls(forks, ranks)), "\n".join(failures)
