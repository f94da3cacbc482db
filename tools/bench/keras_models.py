"""The Keras models of the benchmarks, on the torch backend. Import it before Keras."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402


class Workload(NamedTuple):
    """A model with one batch, and how it learns."""

    model: Callable[[], Any]
    batch: Callable[[], tuple[Any, Any]]
    optimizer: Callable[[], Any]
    loss: str = "mse"  # or "classes", of logits

    def compiled(self) -> Any:
        """The model, compiled, from the same seed each time."""
        keras.utils.set_random_seed(0)
        model = self.model()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if self.loss == "classes" else self.loss
        model.compile(optimizer=self.optimizer(), loss=loss)
        return model


def dense(depth: int, width: int) -> Callable[[], Any]:
    return lambda: keras.Sequential([keras.Input((width,)), *(layers.Dense(width, "relu") for _ in range(depth))])


def conv_net(filters: int = 16, normalize: bool = True) -> Any:
    x = inputs = keras.Input((16, 16, 3))
    for i in range(3):
        x = layers.Conv2D(filters << i, 3, padding="same", name=f"conv_{i}")(x)
        x = layers.BatchNormalization()(x) if normalize else x
        x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)))


def transformer(width: int = 64, heads: int = 4, blocks: int = 2, vocabulary: int = 64, length: int = 32) -> Any:
    inputs = keras.Input((length,), dtype="int32")
    x = layers.Embedding(vocabulary, width, name="tokens")(inputs)
    for i in range(blocks):
        h = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(heads, width // heads, name=f"attention_{i}")(h, h, use_causal_mask=True)
        h = layers.Dense(4 * width, "gelu", name=f"up_{i}")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width, name=f"down_{i}")(h)
    return keras.Model(inputs, layers.Dense(vocabulary, name="head")(x))


def numbers(rows: int, width: int) -> Callable[[], tuple]:
    def draw() -> tuple:
        r = np.random.default_rng(0)
        return r.normal(size=(rows, width)).astype("float32"), r.normal(size=(rows, width)).astype("float32")

    return draw


def images(rows: int) -> Callable[[], tuple]:
    def draw() -> tuple:
        r = np.random.default_rng(0)
        return r.normal(size=(rows, 16, 16, 3)).astype("float32"), r.integers(0, 10, rows)

    return draw


def tokens(rows: int, length: int = 32, vocabulary: int = 64) -> Callable[[], tuple]:
    def draw() -> tuple:
        r = np.random.default_rng(0)
        return r.integers(0, vocabulary, (rows, length)), r.integers(0, vocabulary, (rows, length))

    return draw


def sgd() -> Any:
    return keras.optimizers.SGD(1e-3)


def adam() -> Any:
    # With the usual epsilon a gradient that is nearly zero, and so mostly rounding, counts as much as any other.
    return keras.optimizers.Adam(1e-3, epsilon=1e-3)
