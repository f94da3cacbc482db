"""Keras models of every kind. Each case trains one and returns what a user would look at."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_torch.harness import keras, np

layers = keras.layers


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


# ---- models ---------------------------------------------------------------------------------------------------------
def mlp(width: int = 12) -> Any:
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(width, activation="relu", name="up"),
            layers.Dense(6, activation="gelu", name="down"),
            layers.Dense(3, name="head"),
        ]
    )


def residual_mlp() -> Any:
    x = inputs = keras.Input((8,))
    h = layers.Dense(12, activation="relu", name="up")(layers.LayerNormalization(name="norm")(x))
    h = layers.Dropout(0.3, seed=1)(layers.Dense(8, name="down")(h))
    x = layers.RMSNormalization(name="rms")(layers.add([x, h]))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def cnn() -> Any:
    return keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            layers.Conv2D(6, 3, padding="same", name="conv_a"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25, seed=2),
            layers.Conv2D(5, 3, strides=2, activation="relu", name="conv_b"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, name="head"),
        ]
    )


def separable_cnn() -> Any:
    return keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise"),
            layers.SeparableConv2D(6, 3, name="separable"),
            layers.GroupNormalization(groups=2, name="group"),
            layers.Activation("relu"),
            layers.Conv2D(5, 1, name="pointwise"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4, name="head"),
        ]
    )


def conv1d() -> Any:
    return keras.Sequential(
        [
            keras.Input((11, 4)),
            layers.Conv1D(6, 3, padding="causal", activation="relu", name="conv_a"),
            layers.Conv1DTranspose(5, 3, name="up"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(3, name="head"),
        ]
    )


def recurrent(cell: str, bidirectional: bool = False) -> Callable[[], Any]:
    def build() -> Any:
        layer = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}[cell](7, name=cell)
        return keras.Sequential(
            [
                keras.Input((6,), dtype="int32"),
                layers.Embedding(11, 6, name="table"),
                layers.Bidirectional(layer, name="both") if bidirectional else layer,
                layers.Dense(3, name="head"),
            ]
        )

    return build


class Block(layers.Layer):
    """Attention and feed-forward with residual dropout, as in keras.io's transformer example."""

    def __init__(self, width: int, heads: int, key_value_heads: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if key_value_heads is None:
            self.attention = layers.MultiHeadAttention(heads, width // heads, name="attention")
        else:
            self.attention = layers.GroupQueryAttention(width // heads, heads, key_value_heads, name="attention")
        self.up = layers.Dense(2 * width, activation="gelu", name="up")
        self.down = layers.Dense(width, name="down")
        self.norm1, self.norm2 = layers.LayerNormalization(name="norm1"), layers.LayerNormalization(name="norm2")
        self.drop1, self.drop2 = layers.Dropout(0.2, seed=3), layers.Dropout(0.2, seed=4)

    def call(self, x: Any, training: bool | None = None) -> Any:
        h = self.attention(x, x, use_causal_mask=True)
        x = self.norm1(x + self.drop1(h, training=training))
        return self.norm2(x + self.drop2(self.down(self.up(x)), training=training))


class Language(keras.Model):
    """A subclassed decoder; `tied`: the output layer is the table of embeddings."""

    def __init__(self, vocabulary: int = 13, tied: bool = False, key_value_heads: int | None = None) -> None:
        super().__init__(name="language")
        self.tied = tied
        self.table = (
            layers.ReversibleEmbedding(vocabulary, 8, name="table")
            if tied
            else layers.Embedding(vocabulary, 8, name="table")
        )
        self.blocks = [Block(8, 4, key_value_heads, name=f"block_{i}") for i in range(2)]
        self.head = None if tied else layers.Dense(vocabulary, name="head")

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.table(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.table(x, reverse=True) if self.tied else self.head(x)


def branches() -> Any:
    """A functional model with branches, a layer used twice, and a nested model."""
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    shared = layers.Dense(10, activation="tanh", name="shared")
    inner = keras.Sequential([keras.Input((10,)), layers.Dense(9, activation="relu", name="inner_dense")], name="inner")
    x = layers.concatenate([inner(shared(a)), shared(b)])
    x = layers.multiply([layers.Dense(6, name="gate", activation="sigmoid")(x), layers.Dense(6, name="value")(x)])
    return keras.Model([a, b], [layers.Dense(3, name="head")(x), layers.Dense(1, name="score")(x)])


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
