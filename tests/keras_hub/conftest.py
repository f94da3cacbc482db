"""Ranks that run KerasHub's models."""

from collections.abc import Iterator

import pytest
from support.ranks import RankPool


@pytest.fixture(scope="session")
def hub4() -> Iterator[RankPool]:
    """Four Gloo ranks with Keras on torch; TensorFlow, which comes along, keeps quiet."""
    with RankPool(4, env={"KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}) as pool:
        yield pool
