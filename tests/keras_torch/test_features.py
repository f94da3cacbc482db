"""What else Keras offers on sharded variables: precision, LoRA, quantization, seeds, torch layers; what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from keras_torch.cases import BLOCK_RULES, MLP_RULES, classify, features, tokens
from keras_torch.harness import differences, distribute, keras, np, plain, sharded_variables, side_by_side, torch, weft
from keras_torch.networks import Language, OwnStep, mlp
from support.ranks import RankPool

SHAPE = (2, 2)


def outcome(model: Any, history: Any) -> dict:
    return {"history": history.history, "weights": model.get_weights()}


def mixed(policy: str) -> Callable[[], dict]:
    def run() -> dict:
        keras.config.set_dtype_policy(policy)
        try:
            model = Language()
            model.compile(**classify())
            x, y = tokens(10, 7, 13)
            return outcome(model, model.fit(x, y, batch_size=4, epochs=2, verbose=0))
        finally:
            keras.config.set_dtype_policy("float32")

    return run


def lora() -> dict:
    """In float64: second factors begin at zero, and float32 rounds by some 1e-5 of what two fits make of them."""
    floatx = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        model = Language()
        model.compile(**classify())
        x, y = tokens(10, 7, 13)
        first = model.fit(x, y, batch_size=4, verbose=0)
        for layer in model._flatten_layers():
            if hasattr(layer, "enable_lora") and layer.built and layer.name in ("up", "down", "query", "value"):
                layer.enable_lora(2)
        model.compile(**classify())
        second = model.fit(x, y, batch_size=4, verbose=0)
        count = len(model.trainable_variables)
        return {"first": first.history, "count": count, **outcome(model, second)}
    finally:
        keras.config.set_floatx(floatx)


def int8() -> dict:
    model = mlp(16)
    x, _ = features(9, 8)
    before = model.predict(x, verbose=0)
    model.quantize("int8")
    return {"before": before, "after": model.predict(x, verbose=0), "weights": model.get_weights()}


def gradient_penalty() -> dict:
    """A second derivative in a train step."""

    class Penalized(OwnStep):
        def step(self, x: Any, y: Any) -> dict:
            x = x.detach().requires_grad_()
            loss = keras.ops.mean(keras.ops.square(self(x, training=True) - y))
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            (loss + 10.0 * keras.ops.sum(slope * slope)).backward()
            return {"loss": loss}

    model = Penalized()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0))


class RandomLayer(keras.layers.Layer):
    """keras.random's functions on what a row-split layer leaves pending."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(7)

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = keras.random.dropout(x, 0.2, seed=self.seed)
        x = x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.seed)
        return x * keras.random.uniform((1, x.shape[-1]), 0.5, 1.5, seed=self.seed)


def random_functions() -> dict:
    l = keras.layers
    model = keras.Sequential(
        [keras.Input((8,)), l.Dense(12, name="up"), l.Dense(6, name="down"), RandomLayer(), l.Dense(3)]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0))


def torch_module() -> dict:
    """torch.nn layers inside a Keras model."""
    l = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8,)),
            l.TorchModuleWrapper(torch.nn.Linear(8, 12), output_shape=(None, 12), name="torch_up"),
            l.Dense(6, activation="relu", name="down"),
            l.TorchModuleWrapper(torch.nn.LayerNorm(6), output_shape=(None, 6), name="torch_norm"),
            l.Dense(3),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x, y = features(21, 8)
    return outcome(model, model.fit(x, y, batch_size=8, epochs=2, verbose=0))


RUNS: dict[str, tuple[Callable[[], dict], dict]] = {
    "lora": (lora, {**BLOCK_RULES, ".*up/lora_kernel_b": (None, "model")}),
    "int8": (int8, {**MLP_RULES, ".*up/kernel_scale": ("model",)}),
    "gradient_penalty": (gradient_penalty, MLP_RULES),
    "random_functions": (random_functions, MLP_RULES),
    "torch_module": (torch_module, MLP_RULES),
}


def run(name: str) -> dict[str, float]:
    function, rules = RUNS[name]
    expected, got = side_by_side(function, SHAPE, rules)
    return {path: d for path, d in differences(expected, got).items() if not d < 2e-5}


@pytest.mark.parametrize("name", RUNS)
def test_same_numbers(keras4: RankPool, name: str) -> None:
    assert keras4(run, name, timeout=120) == [{}] * 4


def half_precision(policy: str) -> tuple[float, float]:
    """How far the weights of half-precision runs are from those of float32: in one process, and sharded.

    Over several seeds: each single distance is rounding, which training magnifies.
    """

    def seeded(policy: str, seed: int) -> Callable[[], Any]:
        def run() -> Any:
            keras.utils.set_random_seed(seed)
            return mixed(policy)()["weights"]

        return run

    distances = np.zeros(2)
    for seed in range(4):
        plain()
        exact = seeded("float32", seed)()
        for i, got in enumerate(side_by_side(seeded(policy, seed), SHAPE, BLOCK_RULES)):
            distances[i] += np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(got, exact, strict=True)))
    return tuple(distances)


@pytest.mark.one_keras  # test_same_numbers
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(keras4: RankPool, policy: str) -> None:
    for in_one_process, sharded in keras4(half_precision, policy, timeout=120):
        assert 0 < sharded < 1.5 * in_one_process


def unseeded() -> list[np.ndarray]:
    """No seed, and each rank's generators have been drawn from differently."""
    import random

    plain()
    random.seed(weft.rank())
    np.random.seed(weft.rank())
    torch.manual_seed(weft.rank())
    distribute(SHAPE, {})
    try:
        model = mlp()
        model.compile(optimizer="sgd", loss="mse")
        model.fit(*features(16, 8), batch_size=8, verbose=0, shuffle=True)
        return model.get_weights()
    finally:
        plain()


def test_unseeded_ranks_agree(keras4: RankPool) -> None:
    first, *others = keras4(unseeded)
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def seeded_apart() -> str:
    distribute(SHAPE, {})
    try:
        keras.utils.set_random_seed(weft.rank())
        model = mlp()
        model.compile(optimizer="sgd", loss="mse")
        model.fit(*features(16, 8), verbose=0)
    except ValueError as e:
        return str(e)
    finally:
        plain()
    return "no error"


def test_ranks_seeded_apart_are_told(keras4: RankPool) -> None:
    messages = keras4(seeded_apart)
    assert len(set(messages)) == 1 and "seed all ranks alike" in messages[0], messages


def distributed_late() -> dict:
    """The model, and even its optimizer, are built before the distribution is set."""
    plain()
    keras.utils.set_random_seed(11)
    x, y = features(21, 8)

    def train(distributed: bool) -> tuple[list, list[str]]:
        plain()
        keras.utils.set_random_seed(11)
        model = mlp()
        model.compile(optimizer=keras.optimizers.Adam(0.01, epsilon=1e-3), loss="mse")
        model.optimizer.build(model.trainable_variables)
        if distributed:
            distribute(SHAPE, MLP_RULES)
            keras.utils.set_random_seed(12)
        else:
            keras.utils.set_random_seed(12)
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        return model.get_weights(), sharded_variables(model)

    expected, _ = train(False)
    got, split = train(True)
    plain()
    return {"wrong": {p: d for p, d in differences(expected, got).items() if not d < 2e-5}, "split": split}


def test_distribution_set_late(keras4: RankPool) -> None:
    for result in keras4(distributed_late):
        assert not result["wrong"] and len(result["split"]) == 3, result


def printed() -> str:
    """Only one rank prints a variable: nothing may wait for the others."""
    distribute(SHAPE, MLP_RULES)
    try:
        model = mlp()
        return repr(model.layers[0].kernel) if weft.rank() == 0 else ""
    finally:
        plain()


def test_printing_asks_no_other_rank(keras4: RankPool) -> None:
    assert "layout=(None, model)" in keras4(printed)[0]


def wrong_rank() -> str:
    distribute((1, 2), {".*up/kernel": ("model",)})
    try:
        mlp()
    except ValueError as e:
        return str(e)
    finally:
        plain()
    return "no error"


def test_rule_for_another_rank(keras2: RankPool) -> None:
    for message in keras2(wrong_rank):
        assert "up/kernel" in message and "(8, 12)" in message and "'.*up/kernel'" in message, message
