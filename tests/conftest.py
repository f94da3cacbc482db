"""Fixtures for all Python tests."""

from collections.abc import Iterator

import pytest
from support.ranks import RankPool


def _pool(nprocs: int) -> Iterator[RankPool]:
    with RankPool(nprocs) as pool:
        yield pool


@pytest.fixture(scope="session")
def ranks2() -> Iterator[RankPool]:
    """Two Gloo ranks that live as long as the test session: `ranks2(fn, *args)` returns fn's value on each rank."""
    yield from _pool(2)


@pytest.fixture(scope="session")
def ranks3() -> Iterator[RankPool]:
    yield from _pool(3)


@pytest.fixture(scope="session")
def ranks4() -> Iterator[RankPool]:
    yield from _pool(4)
