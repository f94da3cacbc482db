"""fit, evaluate and predict with all that Keras takes, under ModelParallel and DataParallel: as in one process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, classify, features
from keras_torch.fitting import SHAPE, Recorder, compiled, wrong
from keras_torch.harness import keras, np, side_by_side, torch
from keras_torch.networks import OwnStep, mlp
from support.ranks import RankPool


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
