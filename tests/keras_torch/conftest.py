"""Ranks that run Keras: the released one, and the next one where tools/setup found it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ranks import RankPool

RELEASES = ["released", "nightly"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("one_keras") and "nightly" in item.callspec.params.values():
            item.add_marker("long")


def require(release: str) -> None:
    """Skips a test where that Keras is not installed."""
    if sys.version_info < (3, 11):
        pytest.skip("Keras 3.15 needs Python 3.11")
    if release == "nightly" and not (Path(sys.prefix) / "keras-nightly").is_dir():
        pytest.skip("keras-nightly is not installed (tools/setup found none)")


def keras_ranks(nprocs: int, release: str, *, init: bool = True) -> RankPool:
    """New ranks with that Keras; skips the test where it is not installed."""
    require(release)
    return RankPool(nprocs, init=init, env={"WEFT_TEST_KERAS": release}, imports=["keras_torch.harness"])


@pytest.fixture(scope="session", params=RELEASES)
def keras1(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    """One process, without a process group."""
    with keras_ranks(1, request.param, init=False) as pool:
        yield pool


@pytest.fixture(scope="session", params=RELEASES)
def keras2(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    """Two Gloo ranks with Keras, once for each release."""
    with keras_ranks(2, request.param) as pool:
        yield pool


@pytest.fixture(scope="session", params=RELEASES)
def keras4(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    with keras_ranks(4, request.param) as pool:
        yield pool
