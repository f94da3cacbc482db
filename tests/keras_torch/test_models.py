"""Stock Keras models give the same numbers sharded as in one process."""

import pytest
from keras_torch.cases import CASES, train
from keras_torch.harness import differences, sharded_variables, side_by_side
from support.ranks import RankPool


def run(name: str, shape: tuple[int, int]) -> tuple[dict[str, float], list[str]]:
    """Differences beyond the case's tolerance, and the variables that were split."""
    case = CASES[name]
    expected, got = side_by_side(lambda: train(case), shape, case.rules)
    split = sharded_variables(got.pop("model"))
    expected.pop("model")
    wrong = {path: d for path, d in differences(expected, got).items() if not d < case.tolerance}
    return wrong, split


def check(pool: RankPool, name: str, shape: tuple[int, int]) -> None:
    for wrong, split in pool(run, name, shape, timeout=240):
        assert not wrong
        assert len(split) >= CASES[name].sharded, split


@pytest.mark.one_keras  # test_four_ranks
@pytest.mark.parametrize("shape", [(1, 2), (2, 1)], ids=str)
# Optimizers are tried on the mesh with both axes alone.
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("optimizer_")])
def test_two_ranks(keras2: RankPool, name: str, shape: tuple[int, int]) -> None:
    check(keras2, name, shape)


@pytest.mark.parametrize("name", CASES)
def test_four_ranks(keras4: RankPool, name: str) -> None:
    check(keras4, name, (2, 2))
