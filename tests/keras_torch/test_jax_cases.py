"""What Keras's tests ask of JAX's distribution, asked of torch: tensors, variables, models and data on ranks."""

from typing import Any
from unittest import mock

import pytest
from keras_torch.harness import differences, distribute, keras, np, plain, torch, weft
from support.ranks import RankPool

D = keras.distribution
layers = keras.layers
SPLIT_DENSE = {".*dense.*kernel": (None, "model"), ".*dense.*bias": ("model",)}


def world_size() -> int:
    return keras.src.backend.distribution_lib.num_processes()


def mesh_shapes() -> list[tuple[int, int]]:
    """All meshes of two axes over the world, from data alone to model alone."""
    n = world_size()
    return [(n // m, m) for m in range(1, n + 1) if n % m == 0]


def axes_of(variable: Any) -> tuple:
    return weft.layout_of(variable.value).axes


def data_parallel() -> Any:
    weft.keras.enable()
    plain()
    D.initialize()
    return D.DataParallel()


def model_parallel(shape: tuple[int, int], rules: dict[str, tuple]) -> Any:
    """Set only inside its scope(), as JAX's cases have it."""
    plain()
    distribution = distribute(shape, rules)
    D.set_distribution(None)
    return distribution


# ---- tensors --------------------------------------------------------------------------------------------------------
def check_tensors() -> None:
    """Goes from one layout to another in every mesh, given as Keras's or Weft's; gathered they are what they were."""
    weft.keras.enable()
    D.initialize()
    values = np.arange(32, dtype="float32").reshape(8, 4)
    for rows, columns in mesh_shapes():
        mesh = D.DeviceMesh((rows, columns), ["batch", "model"])
        layouts = [D.TensorLayout(axes, mesh) for axes in (("batch", None), ("batch", "model"), (None, "batch"))]
        for given in (values, torch.tensor(values), keras.ops.convert_to_tensor(values)):
            for layout in layouts:
                sharded = D.distribute_tensor(given, layout)
                assert tuple(sharded.shape) == (8, 4) and weft.layout_of(sharded) == layout.backend_layout
                assert D.distribute_tensor(torch.tensor(values), layout.backend_layout).equal(sharded)
                np.testing.assert_array_equal(keras.ops.convert_to_numpy(sharded), values)
                for other in layouts:
                    moved = D.distribute_tensor(sharded, other)
                    assert weft.layout_of(moved) == other.backend_layout and moved.equal(sharded)
        assert tuple(weft.local_tensor(D.distribute_tensor(values, layouts[1])).shape) == (8 // rows, 4 // columns)
        symbolic = keras.KerasTensor((8, 4))
        assert D.distribute_tensor(symbolic, layouts[0]) is symbolic


# ---- variables ------------------------------------------------------------------------------------------------------
class OnesInLayout(keras.initializers.Initializer):
    """An initializer that lays out by itself what it makes."""

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        assert isinstance(layout, weft.TensorLayout)
        return D.distribute_tensor(keras.ops.ones(shape, dtype), layout)


def check_variables() -> None:
    with data_parallel().scope():
        variable = keras.Variable(OnesInLayout(), (2, 3), "float32")
    assert axes_of(variable) == (None, None) and np.all(np.asarray(variable) == 1)

    distribution = model_parallel(
        (world_size() // 2, 2), {"kernel": (None, "model"), "bias": ("model",), **SPLIT_DENSE}
    )
    with distribution.scope():
        kernel = keras.Variable(OnesInLayout(), (2, 4), "float32", name="kernel")
        bias = keras.Variable(OnesInLayout(), (4,), "float32", name="bias")
        dense = layers.Dense(8)
        dense.build((16, 16))
    for variable in (kernel, bias, dense.kernel, dense.bias):
        axes = ("model",) if variable.name == "bias" else (None, "model")
        assert axes_of(variable) == axes
        # As loading does, outside the scope.
        new = np.random.default_rng(0).normal(size=variable.shape).astype("float32")
        variable.assign(new)
        assert axes_of(variable) == axes
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), new)


# ---- models ---------------------------------------------------------------------------------------------------------
class Capture(layers.Layer):
    """Passes its input on and keeps its layout, when it is a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.layout: Any = None

    def call(self, inputs: Any) -> Any:
        if weft.is_sharded(inputs):
            self.layout = weft.layout_of(inputs)
        return inputs


def classifier(capture: bool = False) -> Any:
    x = inputs = layers.Input([28, 28, 1])
    x = layers.Dense(200, use_bias=False, activation="relu")(layers.Flatten()(x))
    if capture:
        x = Capture()(x)
    x = layers.Dropout(0.4, seed=1)(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def train(distribution: Any, **options: Any) -> tuple[Any, dict]:
    """The model built, fitted and evaluated in the scope; with the losses and weights."""
    r = np.random.default_rng(0)
    x, y = r.normal(size=(36, 28, 28, 1)).astype("float32"), r.normal(size=(36, 10)).astype("float32")
    keras.utils.set_random_seed(1234)
    with distribution.scope(), weft.random_mode("replay"):
        model = classifier(**options)
        model.compile(loss="mse", optimizer="sgd")
        losses = model.fit(x, y, batch_size=16, epochs=2, verbose=0).history["loss"]
        return model, {"fit": losses, "evaluate": model.evaluate(x, y, verbose=0), "weights": model.get_weights()}


def alone(**options: Any) -> dict:
    plain()
    return train(mock.MagicMock(), **options)[1]  # whose scope() does nothing


def check_same(expected: dict, got: dict) -> None:
    wrong = {path: d for path, d in differences(expected, got).items() if not d < 2e-5}
    assert not wrong


def check_data_parallel_model() -> None:
    weft.keras.enable()
    expected = alone()
    model, got = train(data_parallel())
    for v in [*model.variables, *model.optimizer.variables]:
        assert not any(axes_of(v))
    check_same(expected, got)


def check_models_without_rules() -> None:
    """Data and model axes of all sizes."""
    weft.keras.enable()
    expected = alone()
    for shape in mesh_shapes():
        model, got = train(model_parallel(shape, {}))
        assert not any(any(axes_of(v)) for v in model.variables)
        check_same(expected, got)


def check_model_parallel_model() -> None:
    weft.keras.enable()
    expected = alone(capture=True)
    for outputs in ({}, {".*dense.*output": ("batch", None)}):
        model, got = train(model_parallel((world_size() // 2, 2), {**SPLIT_DENSE, **outputs}), capture=True)
        for v in model.variables:
            split = {"kernel": (None, "model"), "bias": ("model",)}.get(v.name, (None,) * len(v.shape))
            assert axes_of(v) == split
        (seen,) = [layer.layout for layer in model.layers if isinstance(layer, Capture)]
        assert not seen.partial and seen.axes == (("batch", None) if outputs else ("batch", "model"))
        check_same(expected, got)


# ---- batches of each rank -------------------------------------------------------------------------------------------
class Rows(keras.Model):
    """Keeps the rows of each batch that its rank has."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list = []

    def call(self, inputs: Any) -> Any:
        return inputs

    def test_step(self, data: Any) -> dict:
        self.rows.append(weft.local_tensor(data[0]).flatten().tolist())
        return {}


class Numbers(keras.utils.PyDataset):
    """Batches of eight of the numbers from 0 to 31; with `shard` of n, the part of them that it has."""

    def __init__(self, shard: int = 0, shards: int = 1) -> None:
        super().__init__()
        self.shard, self.shards = shard, shards

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple:
        rows = np.arange(8, dtype="float32").reshape(self.shards, -1)[self.shard] + 8 * index
        return (rows[:, None],)


def check_batches() -> None:
    """Which rows a rank has: of whole batches, and of its own parts with auto_shard_dataset=False."""
    rank = torch.distributed.get_rank()
    distributions = [(data_parallel(), world_size(), rank)]
    for shape in mesh_shapes():
        distributions.append((model_parallel(shape, {}), shape[0], rank // shape[1]))
    for distribution, parts, part in distributions:
        each = 8 // parts
        expected = [[8.0 * batch + each * part + i for i in range(each)] for batch in range(4)]
        for auto, data in ((True, Numbers()), (False, Numbers(part, parts))):
            distribution.auto_shard_dataset = auto
            with distribution.scope():
                model = Rows()
                model.compile()
                model.evaluate(data, verbose=0)
            assert model.rows == expected, (distribution, auto)


# ---- the trainer ----------------------------------------------------------------------------------------------------
def check_steps_on_batches() -> None:
    """Each function on batches, with sample weights and without, and data whose targets are None."""
    weft.keras.enable()
    r = np.random.default_rng(0)
    x, y = r.normal(size=(8, 16)).astype("float32"), r.normal(size=(8, 4)).astype("float32")
    weights = r.uniform(size=8).astype("float32")

    def run(distribution: Any) -> dict:
        keras.utils.set_random_seed(5)
        with distribution.scope():
            model = keras.Sequential([layers.Input((16,)), layers.Dense(4)])
            model.compile(loss="mse", optimizer=keras.optimizers.Adam(0.01, epsilon=1e-3))
            out = {"with weights": model.train_on_batch(x, y, sample_weight=weights)}
            out["tested with weights"] = model.test_on_batch(x, y, sample_weight=weights)
            out["trained"], out["tested"] = model.train_on_batch(x, y), model.test_on_batch(x, y)
            out["predicted"] = model.predict_on_batch(x)
            out["fit"] = model.fit(x, y, epochs=1, verbose=0).history["loss"]
            out["evaluated"] = model.evaluate(x, y, verbose=0)
            out["without targets"] = model.predict(((x, None) for _ in range(2)), steps=2, verbose=0)
            return {**out, "weights": model.get_weights()}

    plain()
    expected = run(mock.MagicMock())
    check_same(expected, run(data_parallel()))
    check_same(expected, run(model_parallel((world_size(), 1), SPLIT_DENSE)))
    check_same(expected, run(model_parallel((1, world_size()), SPLIT_DENSE)))


def check_model_built_outside() -> None:
    """Its first step lays out the model that was built before: no mixture of plain and sharded variables is left."""
    x, y = np.ones((8, 16), "float32"), np.ones((8, 8), "float32")
    for distribution in (data_parallel(), model_parallel((1, world_size()), SPLIT_DENSE)):
        model = keras.Sequential([layers.Input((16,)), layers.Dense(8)])
        assert not any(weft.is_sharded(v.value) for v in model.variables)
        with distribution.scope():
            model.compile(loss="mse", optimizer="adam")
            model.fit(x, y, verbose=0)
        split = isinstance(distribution, D.ModelParallel)
        assert axes_of(model.layers[0].kernel) == (None, "model" if split else None)
        assert all(weft.is_sharded(v.value) for v in [*model.variables, *model.optimizer.variables])


CHECKS = [
    check_tensors,
    check_variables,
    check_data_parallel_model,
    check_models_without_rules,
    check_model_parallel_model,
    check_batches,
    check_steps_on_batches,
    check_model_built_outside,
]


@pytest.mark.one_keras  # test_four_ranks
@pytest.mark.parametrize("check", CHECKS, ids=lambda f: f.__name__.removeprefix("check_"))
def test_two_ranks(keras2: RankPool, check: Any) -> None:
    keras2(check, timeout=200)


@pytest.mark.parametrize("check", CHECKS, ids=lambda f: f.__name__.removeprefix("check_"))
def test_four_ranks(keras4: RankPool, check: Any) -> None:
    keras4(check, timeout=200)
