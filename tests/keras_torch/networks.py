"""Keras models of every kind, as users write them."""

from collections.abc import Callable
from typing import Any

from keras_torch.harness import keras, torch

layers = keras.layers


def mlp(width: int = 12) -> Any:
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(width, activation="relu", name="up"),
            layers.Dense(6, activation="gelu", name="down"),
            layers.Dense(3, name="head"),
        ]
    )


class OwnStep(keras.Model):
    """An mlp whose train_step is the user's own: `step` computes gradients, and returns what there is to log."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def step(self, x: Any, y: Any) -> dict:
        raise NotImplementedError

    def train_step(self, data: Any) -> dict:
        self.zero_grad()
        logs = self.step(*data)
        variables = list(self.trainable_weights)
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in variables], variables)
        return logs


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
