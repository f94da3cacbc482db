"""fit, evaluate and predict with all that Keras takes, under ModelParallel and DataParallel: as in one process."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, classify, features
from keras_torch.harness import differences, distribute, keras, np, plain, side_by_side, torch, weft
from keras_torch.networks import OwnStep, mlp
from support.ranks import RankPool

SHAPE = (2, 2)


def compiled(**more: Any) -> Any:
    model = mlp()
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse", **more})
    return model


def outcome(model: Any, history: Any = None) -> dict:
    return {"history": dict(history.history) if history else {}, "weights": model.get_weights()}


# ---- inputs ---------------------------------------------------------------------------------------------------------
class Batches(keras.utils.PyDataset):
    """Random values of its own, from NumPy: the same on all ranks only if their seeds are."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        x, y = features(8 if index < 2 else 5, 8)
        return x + index, y + np.random.default_rng(index).normal(size=y.shape).astype("float32")


def generator() -> Iterator[tuple[Any, Any]]:
    batches = Batches()
    while True:
        for i in range(len(batches)):
            yield batches[i]


def loader() -> Any:
    x, y = features(21, 8)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)


def from_numpy() -> dict:
    model = compiled(metrics=["mae"])
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_split=0.3))


def from_tensors() -> dict:
    model = compiled()
    x, y = features(21, 8)
    return outcome(model, model.fit(torch.from_numpy(x), torch.from_numpy(y), batch_size=8, verbose=0))


def from_dataset() -> dict:
    model = compiled()
    history = model.fit(Batches(), epochs=2, verbose=0, validation_data=Batches())
    return {**outcome(model, history), "predict": model.predict(Batches(), verbose=0)}


def from_generator() -> dict:
    model = compiled()
    return outcome(model, model.fit(generator(), steps_per_epoch=4, epochs=2, verbose=0))


def from_loader() -> dict:
    model = compiled()
    history = model.fit(loader(), epochs=2, verbose=0)
    return {**outcome(model, history), "evaluate": model.evaluate(loader(), verbose=0)}


# ---- what is asked of fit -------------------------------------------------------------------------------------------
def on_batches() -> dict:
    model = compiled(metrics=["mae"])
    x, y = features(7, 8)
    logs = [model.train_on_batch(x, y) for _ in range(3)]
    return {"logs": logs, "test": model.test_on_batch(x, y), "predict": model.predict_on_batch(x), **outcome(model)}


def weighted() -> dict:
    model = mlp()
    model.compile(**classify(), weighted_metrics=["accuracy"])
    x, _ = features(21, 8)
    y = np.arange(21) % 3
    history = model.fit(x, y, batch_size=8, verbose=0, sample_weight=np.linspace(0, 1, 21).astype("float32"))
    again = model.fit(x, y, batch_size=8, verbose=0, class_weight={0: 1.0, 1: 2.0, 2: 0.5})
    return {"first": history.history, **outcome(model, again)}


def many_metrics() -> dict:
    model = keras.Sequential([mlp(), keras.layers.Softmax()])
    m = keras.metrics
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss="categorical_crossentropy",
        metrics=[
            m.AUC(),
            m.Precision(),
            m.Recall(),
            m.F1Score(),
            m.TopKCategoricalAccuracy(2),
            m.CategoricalAccuracy(),
            m.MeanIoU(3, sparse_y_true=False, sparse_y_pred=False),
            m.R2Score(),
        ],
    )
    x, _ = features(21, 8)
    y = np.eye(3, dtype="float32")[np.arange(21) % 3]
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return {**outcome(model, history), "evaluate": model.evaluate(x, y, verbose=0, return_dict=True)}


class Recorder(keras.callbacks.Callback):
    """What callbacks are given, by batch: Keras calls this kind from a pool of threads, in any order."""

    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.losses: dict[str, float] = {}
        self.outputs: dict[str, Any] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses[f"{self.epoch}.{batch}"] = float(logs["loss"])

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.outputs[str(batch)] = keras.ops.convert_to_numpy(logs["outputs"])


def callbacks() -> dict:
    model = compiled()
    x, y = features(21, 8)
    recorder, norms = Recorder(), []
    c = keras.callbacks
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=4,
        verbose=0,
        validation_split=0.25,
        callbacks=[
            recorder,
            c.LambdaCallback(on_epoch_end=lambda e, logs: norms.append(np.abs(model.layers[0].kernel.numpy()).sum())),
            c.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=10.0, factor=0.5),
            c.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            c.EarlyStopping(monitor="val_loss", patience=1, restore_best_weights=True),
            c.TerminateOnNaN(),
        ],
    )
    model.predict(x, batch_size=8, verbose=0, callbacks=[recorder])
    return {"losses": recorder.losses, "outputs": recorder.outputs, "norms": norms, **outcome(model, history)}


class LossAsItComes(OwnStep):
    def step(self, x: Any, y: Any) -> dict:
        error = self(x, training=True) - y
        loss = keras.ops.sum(keras.ops.square(error)) / keras.ops.size(y)
        loss.backward()
        return {"loss": loss, "largest": keras.ops.max(keras.ops.abs(error))}


def own_train_step() -> dict:
    model = LossAsItComes()
    model.compile(optimizer=keras.optimizers.Adam(0.01, epsilon=1e-3))
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0))


def own_loop() -> dict:
    """A plain torch loop around a Keras model, with a torch optimizer."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-3)
    x, y = (torch.from_numpy(a) for a in features(21, 8))
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, **outcome(model)}


def regularized() -> dict:
    l = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8,)),
            l.GaussianNoise(0.1, seed=5),
            l.Dense(12, kernel_regularizer="l2", activity_regularizer="l1", name="up"),
            l.Dense(3, kernel_constraint=keras.constraints.MaxNorm(0.5), name="down"),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="huber")
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0))


def trainable_in_part() -> dict:
    """A frozen layer, then one more that is trained after a second compile."""
    model = compiled()
    model.layers[0].trainable = False
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x, y = features(21, 8)
    first = model.fit(x, y, batch_size=8, verbose=0).history
    model.layers[0].trainable = True
    model.compile(optimizer=keras.optimizers.Adam(0.01, epsilon=1e-3), loss="mse")
    return {"first": first, **outcome(model, model.fit(x, y, batch_size=8, verbose=0))}


RUNS: dict[str, Callable[[], dict]] = {
    f.__name__: f
    for f in (
        from_numpy,
        from_tensors,
        from_dataset,
        from_generator,
        from_loader,
        on_batches,
        weighted,
        many_metrics,
        callbacks,
        own_train_step,
        own_loop,
        regularized,
        trainable_in_part,
    )
}


def wrong(expected: Any, got: Any, tolerance: float = 2e-5) -> dict[str, float]:
    return {path: d for path, d in differences(expected, got).items() if not d < tolerance}


def model_parallel(name: str) -> dict[str, float]:
    return wrong(*side_by_side(RUNS[name], SHAPE, MLP_RULES))


def data_parallel(name: str) -> dict[str, float]:
    return wrong(*side_by_side(RUNS[name], None, {}))


@pytest.mark.parametrize("name", RUNS)
def test_model_parallel(keras4: RankPool, name: str) -> None:
    assert keras4(model_parallel, name, timeout=120) == [{}] * 4


@pytest.mark.parametrize("name", RUNS)
def test_data_parallel(keras2: RankPool, name: str) -> None:
    assert keras2(data_parallel, name, timeout=120) == [{}] * 2


# ---- each rank's own part -------------------------------------------------------------------------------------------
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
