"""Each case trains a Keras model and returns what a user would look at."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_torch.harness import keras, np
from keras_torch.networks import Language, branches, cnn, conv1d, mlp, recurrent, residual_mlp, separable_cnn


class Case(NamedTuple):
    """A model with its data, and the rules by which it is sharded."""

    model: Callable[[], Any]
    data: Callable[[], tuple[Any, Any]]
    rules: Mapping[str, tuple]
    compile: Callable[[], dict] = lambda: {"optimizer": keras.optimizers.SGD(0.1), "loss": "mse"}
    sharded: int = 1  # at least so many variables must be split
    tolerance: float = 2e-5


def features(rows: int, *shape: int, out: tuple[int, ...] = (3,)) -> tuple[Any, Any]:
    r = np.random.default_rng(0)
    return r.normal(size=(rows, *shape)).astype("float32"), r.normal(size=(rows, *out)).astype("float32")


def tokens(rows: int, length: int, vocabulary: int, classes: int | None = None) -> tuple[Any, Any]:
    r = np.random.default_rng(0)
    shape = (rows,) if classes else (rows, length)
    return r.integers(0, vocabulary, (rows, length)), r.integers(0, classes or vocabulary, shape)


def images(rows: int, size: int, channels: int = 3, classes: int = 4) -> tuple[Any, Any]:
    r = np.random.default_rng(0)
    return r.normal(size=(rows, size, size, channels)).astype("float32"), r.integers(0, classes, rows)


def classify(optimizer: Any = None) -> dict:
    return {
        "optimizer": optimizer or keras.optimizers.SGD(0.1),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
    }


def two_inputs(rows: int) -> tuple[Any, Any]:
    r = np.random.default_rng(0)
    draw = lambda *s: r.normal(size=s).astype("float32")  # noqa: E731
    return {"a": draw(rows, 8), "b": draw(rows, 8)}, (draw(rows, 3), draw(rows, 1))


MLP_RULES = {".*up/kernel": (None, "model"), ".*up/bias": ("model",), ".*down/kernel": ("model", None)}
CONV_RULES = {
    ".*conv_a/kernel": (None, None, None, "model"),
    ".*conv_a/bias": ("model",),
    ".*conv_b/kernel": (None, None, "model", None),
    ".*head/kernel": (None, "model"),
}
BLOCK_RULES = {
    ".*attention/(query|key|value)/kernel": (None, "model", None),
    ".*attention/(query|key|value)/bias": ("model", None),
    ".*attention/attention_output/kernel": ("model", None, None),
    ".*up/kernel": (None, "model"),
    ".*up/bias": ("model",),
    ".*down/kernel": ("model", None),
    ".*table/embeddings": ("model", None),
    ".*head/kernel": (None, "model"),
}


def _optimizer_cases() -> dict[str, Case]:
    o = keras.optimizers
    made = {
        "SGD": lambda: o.SGD(0.1),
        "SGD_nesterov": lambda: o.SGD(0.1, momentum=0.9, nesterov=True),
        "RMSprop": lambda: o.RMSprop(0.01, centered=True, momentum=0.5, epsilon=1e-3),
        "Adam": lambda: o.Adam(0.01, epsilon=1e-3),
        "Adam_amsgrad": lambda: o.Adam(0.01, amsgrad=True, epsilon=1e-3),
        "AdamW": lambda: o.AdamW(0.01, epsilon=1e-3),
        "Adadelta": lambda: o.Adadelta(1.0, epsilon=1e-3),
        "Adagrad": lambda: o.Adagrad(0.05),
        "Adamax": lambda: o.Adamax(0.01, epsilon=1e-3),
        "Adafactor": lambda: o.Adafactor(0.01),
        "Nadam": lambda: o.Nadam(0.01, epsilon=1e-3),
        "Ftrl": lambda: o.Ftrl(0.05),
        "Lion": lambda: o.Lion(0.001),
        "Lamb": lambda: o.Lamb(0.01, epsilon=1e-3),
        "Muon": lambda: o.Muon(0.01),
        "LossScale": lambda: o.LossScaleOptimizer(o.SGD(0.1), initial_scale=8.0),
        "clipnorm": lambda: o.SGD(0.1, clipnorm=0.1),
        "global_clipnorm": lambda: o.SGD(0.1, global_clipnorm=0.2),
        "clipvalue": lambda: o.SGD(0.1, clipvalue=0.02),
        "EMA": lambda: o.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
        "accumulation": lambda: o.SGD(0.1, gradient_accumulation_steps=2),
        "schedule": lambda: o.SGD(o.schedules.CosineDecay(0.1, 6)),
    }
    return {
        f"optimizer_{name}": Case(
            mlp, lambda: features(21, 8), MLP_RULES, lambda make=make: {"optimizer": make(), "loss": "mse"}, 3
        )
        for name, make in made.items()
    }


CASES: dict[str, Case] = {
    "mlp_uneven": Case(lambda: mlp(13), lambda: features(23, 8), MLP_RULES, sharded=3),
    "mlp_both_axes": Case(
        mlp, lambda: features(22, 8), {".*up/kernel": ("batch", "model"), ".*down/kernel": (("batch", "model"), None)}
    ),
    "residual_mlp": Case(
        residual_mlp,
        lambda: features(22, 8),
        {**MLP_RULES, ".*norm/(gamma|beta)": ("model",), ".*rms/scale": ("model",)},
        sharded=5,
    ),
    "cnn": Case(cnn, lambda: images(14, 9), CONV_RULES, classify, 4),
    "separable_cnn": Case(
        separable_cnn,
        lambda: images(14, 9, 4),
        {
            ".*depthwise/kernel": (None, None, "model", None),
            ".*separable/pointwise_kernel": (None, None, None, "model"),
            ".*group/(gamma|beta)": ("model",),
            ".*pointwise/kernel": (None, None, "model", None),
            ".*head/kernel": ("model", None),
        },
        classify,
        5,
    ),
    "conv1d": Case(
        conv1d,
        lambda: features(13, 11, 4),
        {".*conv_a/kernel": (None, None, "model"), ".*/up/kernel": (None, "model", None)},
        sharded=2,
    ),
    **{
        f"{cell}{'_both_ways' if both else ''}": Case(
            recurrent(cell, both),
            lambda: tokens(13, 6, 11, 3),
            {
                ".*table/embeddings": ("model", None),
                ".*cell/kernel": (None, "model"),
                ".*cell/recurrent_kernel": (None, "model"),
                ".*head/kernel": ("model", None),
            },
            classify,
            4,
        )
        for cell in ("lstm", "gru", "rnn")
        for both in (False, True)
    },
    "transformer": Case(Language, lambda: tokens(10, 7, 13), BLOCK_RULES, classify, 12),
    "grouped_query": Case(lambda: Language(key_value_heads=2), lambda: tokens(10, 7, 13), BLOCK_RULES, classify, 12),
    "tied": Case(
        lambda: Language(tied=True),
        lambda: tokens(10, 7, 13),
        BLOCK_RULES,
        classify,
        12,
    ),
    "branches": Case(
        branches,
        lambda: two_inputs(19),
        {
            ".*shared/kernel": (None, "model"),
            ".*inner_dense/kernel": ("model", None),
            ".*gate/kernel": (None, "model"),
            ".*value/kernel": (None, "model"),
            ".*head/kernel": ("model", None),
        },
        lambda: {"optimizer": keras.optimizers.SGD(0.1), "loss": ["mse", "mae"], "loss_weights": [1.0, 0.5]},
        5,
    ),
    **_optimizer_cases(),
}


def train(case: Case) -> dict:
    """Two epochs with a last batch that is not full; then everything that can be read."""
    model = case.model()
    model.compile(**case.compile())
    x, y = case.data()
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=True).history
    return {
        "history": history,
        "evaluate": model.evaluate(x, y, batch_size=8, verbose=0),
        "predict": model.predict(x, batch_size=8, verbose=0),
        "weights": model.get_weights(),
        "optimizer": [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables],
        "model": model,
    }
