"""fit() on data of which each rank has its own part, and the layouts of batches."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, features
from keras_torch.fitting import SHAPE, Recorder, compiled, wrong
from keras_torch.harness import distribute, keras, np, plain, torch, weft
from support.ranks import RankPool


def seeded() -> Any:
    """A model that begins alike each time it is made."""
    if keras.distribution.distribution() is None:
        plain()
    keras.utils.set_random_seed(11)
    return compiled()


@contextlib.contextmanager
def own_data() -> Iterator[int]:
    """A distribution under which each data shard loads its own rows; gives this rank's shard."""
    plain()
    distribution = distribute(SHAPE, MLP_RULES)
    distribution.auto_shard_dataset = False
    try:
        yield distribution.data_shard_id
    finally:
        plain()


def own_parts(rows: int) -> dict[str, float]:
    """Each data shard loads its own rows, batches of 4: as one process that has them side by side in batches of 8."""
    shards = [features(2 * rows, 8)[i][s * rows : (s + 1) * rows] for s in (0, 1) for i in (0, 1)]
    batches = []
    for start in range(0, rows, 4):
        part = slice(start, start + 4)
        batches.append(tuple(np.concatenate([shards[i][part], shards[2 + i][part]]) for i in (0, 1)))
    model = seeded()
    losses = [float(model.train_on_batch(*batch)) for batch in batches]
    expected = {"losses": losses, "weights": model.get_weights()}
    with own_data() as mine:
        model = seeded()
        recorder = Recorder()
        model.fit(shards[2 * mine], shards[2 * mine + 1], batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
        # The progress bar's loss is the mean over the epoch so far.
        sizes = np.array([len(b[0]) for b in batches])
        means = np.cumsum(np.array(losses) * sizes) / np.cumsum(sizes)
        expected["losses"] = means
        got = [recorder.losses[f"0.{batch}"] for batch in range(len(batches))]
        return wrong(expected, {"losses": got, "weights": model.get_weights()})


def uneven_parts() -> dict[str, float]:
    """The last batch of one shard is shorter than the other's."""
    x, y = features(11, 8)
    model = seeded()
    expected = {"loss": float(model.train_on_batch(x, y)), "weights": model.get_weights()}
    with own_data() as shard:
        model = seeded()
        mine = slice(0, 4) if shard == 0 else slice(4, 11)
        loss = float(model.train_on_batch(x[mine], y[mine]))
        return wrong(expected, {"loss": loss, "weights": model.get_weights()})


@pytest.mark.parametrize("rows", [12, 10])
def test_own_parts(keras4: RankPool, rows: int) -> None:
    assert keras4(own_parts, rows) == [{}] * 4


def test_uneven_parts(keras4: RankPool) -> None:
    assert keras4(uneven_parts) == [{}] * 4


def batch_layouts() -> list[tuple]:
    """Layouts of what a step is given, for a batch whose leaves are of all kinds."""
    distribute(SHAPE, MLP_RULES)
    try:
        from weft.keras.data import distribute_batch

        batch = ({"a": np.zeros((5, 2), "float32"), "b": torch.zeros(5)}, None, 3.0)
        out = distribute_batch(batch, keras.distribution.distribution())
        assert out[1] is None and not weft.is_sharded(out[2])
        return [weft.layout_of(t).axes for t in (out[0]["a"], out[0]["b"])]
    finally:
        plain()


def test_batch_layouts(keras4: RankPool) -> None:
    assert keras4(batch_layouts) == [[("batch", None), ("batch",)]] * 4
