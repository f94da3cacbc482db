"""The fault matrix: each row once with its fault, and once without, which must raise nothing."""

from collections.abc import Iterator

import pytest
from support.forks import Forks

from faults import rows  # noqa: F401  (fills the table)
from faults.matrix import ROWS, Row, run


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_fault(forks: Forks, row: Row) -> None:
    assert not (failures := run(forks, row, faulty=True).failures), "\n".join(failures)


@pytest.mark.parametrize("row", [r for r in ROWS.values() if r.control], ids=lambda r: r.name)
def test_without_fault(forks: Forks, row: Row) -> None:
    assert not (failures := run(forks, row, faulty=False).failures), "\n".join(failures)
