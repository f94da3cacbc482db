"""What is around training: Model.export, datasets of TensorFlow's, a session that is cleared."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, features
from keras_torch.conftest import keras_ranks
from keras_torch.harness import differences, distribute, keras, np, plain, refusal, side_by_side, torch, weft
from keras_torch.networks import mlp
from support.ranks import RankPool


def trained() -> Any:
    keras.utils.set_random_seed(3)
    model = mlp()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x, y = features(13, 8)
    model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
    return model


def layouts(model: Any) -> list:
    return [weft.layout_of(v._value) for v in model.variables]


def exported(folder: Path, shape: tuple | None) -> dict[str, float]:
    """The program that ranks export, beside the plain model's predictions; and the training that goes on after it."""
    x, y = features(13, 8)
    plain()
    expected = trained()
    want = [expected.predict_on_batch(x[:1]), expected.train_on_batch(x, y), *expected.get_weights()]
    plain()
    distribute(shape, MLP_RULES)
    try:
        model, file = trained(), folder / "model.pt2"
        before, kept = layouts(model), [v._value for v in model.variables]
        model.export(file, format="torch", verbose=False)
        program = torch.export.load(file).module()
        got = program(torch.from_numpy(x[:1])).detach().numpy()
        assert not any(weft.is_sharded(p) for p in program.parameters())
        assert layouts(model) == before and all(v._value is k for v, k in zip(model.variables, kept, strict=True))
        assert keras.distribution.distribution() is not None
        got = [got, model.train_on_batch(x, y), *model.get_weights()]
    finally:
        plain()
    return {path: d for path, d in differences(want, got).items() if not d < 2e-5}


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), None])
def test_exports_the_whole_model(keras2: RankPool, tmp_path: Path, shape: tuple | None) -> None:
    assert keras2(exported, tmp_path, shape, timeout=120) == [{}] * 2


def test_exports_on_one_process(keras1: RankPool, tmp_path: Path) -> None:
    assert keras1(exported, tmp_path, (1, 1), timeout=120) == [{}]


def test_exports_and_clears_on_three_ranks(tmp_path: Path) -> None:
    with keras_ranks(3, "released") as three:
        for shape in ((1, 3), (3, 1)):
            (tmp_path / str(shape)).mkdir()
            assert three(exported, tmp_path / str(shape), shape, timeout=120) == [{}] * 3
        first, *others = three(cleared, timeout=100)
    assert len(first) == 1 and "dropped the ModelParallel" in first[0] and others == [[], []]


def fails(folder: Path) -> tuple[str, str, str, bool]:
    """A wrong name, a format whose packages are not there, an archive: one error on all ranks, which go on."""
    plain()
    distribute((1, 2), MLP_RULES)
    try:
        model = trained()
        before = layouts(model)
        name = refusal(lambda: model.export(folder / "model.wrong", format="torch"))
        try:
            model.export(folder / "model", format="tf_saved_model", verbose=False)
            missing = ""
        except Exception as e:
            missing = f"{type(e).__name__}: {e}"
        archive = object.__new__(keras.export.ExportArchive)  # which wants TensorFlow as it is made
        endpoint = refusal(lambda: archive.track_and_add_endpoint("serve", model, [keras.InputSpec(shape=(1, 8))]))
        model.train_on_batch(*features(13, 8))
        return name, missing, endpoint, layouts(model) == before
    finally:
        plain()


def test_what_fails_fails_on_all_ranks(keras2: RankPool, tmp_path: Path) -> None:
    first, second = keras2(fails, tmp_path, timeout=120)
    assert first == second
    name, missing, endpoint, same_layouts = first
    assert ".pt2" in name and missing and same_layouts
    assert "'serve'" in endpoint and "model.export" in endpoint and "sharded" in endpoint


def cleared() -> list[str]:
    """Keras drops the distribution, as ever; it is said once."""
    texts = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            distribute((1, weft.world_size()), MLP_RULES)
            keras.utils.clear_session()
            assert keras.distribution.distribution() is None
        keras.backend.clear_session()
        texts += [str(w.message) for w in told if "clear_session" in str(w.message)]
    model = trained()
    assert not any(weft.is_sharded(v._value) for v in model.variables)
    return texts


def test_clear_session_says_that_it_drops_the_distribution() -> None:
    with keras_ranks(1, "released", init=False) as alone:
        (texts,) = alone(cleared, timeout=100)
    assert len(texts) == 1 and "dropped the ModelParallel" in texts[0] and "set_distribution again" in texts[0], texts


class DistributedDataset:
    """What Keras takes for TensorFlow's, by its name."""


DistributedDataset.__module__ = "tensorflow.python.distribute.input_lib"


def own_parts() -> tuple[str, str]:
    """A dataset of a tf.distribute strategy; and one that has taken its part by itself."""
    plain()
    distribute((2, 1), MLP_RULES)
    try:
        model = mlp()
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        strategy = refusal(lambda: model.fit(DistributedDataset(), verbose=0))
        x, y = features(16, 8)
        part = slice(8 * weft.rank(), 8 * weft.rank() + 8)
        try:
            model.fit(np.ascontiguousarray(x[part]), y[part], batch_size=8, verbose=0, shuffle=False)
            notes = ""
        except ValueError as e:
            notes = "".join(getattr(e, "__notes__", []))
        return strategy, notes
    finally:
        plain()


def test_datasets_that_shard_themselves() -> None:
    # Processes of their own: ranks that have parted do not come together again.
    with keras_ranks(2, "released") as pool:
        for strategy, notes in pool(own_parts, timeout=100):
            assert "tf.distribute" in strategy and "auto_shard_dataset=False" in strategy
            assert "auto_shard_dataset=False" in notes, notes


def tensorflow_data() -> dict[str, float]:
    """A tf.data pipeline of whole batches; an incomplete last one."""
    import tensorflow as tf

    def run() -> Any:
        model = mlp()
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        history = model.fit(tf.data.Dataset.from_tensor_slices(features(21, 8)).batch(8), epochs=2, verbose=0)
        return [history.history, model.get_weights()]

    expected, got = side_by_side(run, (2, 1), MLP_RULES)
    return {path: d for path, d in differences(expected, got).items() if not d < 2e-5}


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_data(keras2: RankPool) -> None:
    assert keras2(tensorflow_data, timeout=120) == [{}] * 2
