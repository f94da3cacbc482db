"""Two Keras models with their data and the rules by which they are sharded. Nothing here knows of Weft."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from text import TEXT  # noqa: E402

SIZE = 20  # pixels
SHAPES = ("disc", "ring", "square", "cross", "stripes")
CHARACTERS = sorted(set(TEXT))
LENGTH, WIDTH, HEADS, BLOCKS = 40, 96, 4, 2
PROMPT, NEW = "the weaver ", 40  # the language model goes on with it for so many characters


class Workload(NamedTuple):
    """A model to train, and what it then can do."""

    name: str
    model: Callable[[], Any]
    data: Callable[[Any, int], tuple]  # from a numpy generator, so many rows
    rules: dict[str, tuple]  # each must match a variable's whole path
    ability: Callable[[Any, Any], str]  # from the trained model and a numpy generator: in words


# ---- image classifier -----------------------------------------------------------------------------------------------
def classifier() -> Any:
    """A conv net without ReLU and max-pooling, which decide by single bits: with them an ulp in the first weights alone
    moves the plain model's loss by 1e-2 within 60 steps."""
    x = inputs = keras.Input((SIZE, SIZE, 3), name="image")
    for i, filters in enumerate((32, 64, 96)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{i}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_{i}")(x)
        x = layers.Activation("gelu", name=f"gelu_{i}")(x)
        x = layers.AveragePooling2D(2, name=f"pool_{i}")(x) if i < 2 else x
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dense(256, activation="gelu", name="hidden")(x)
    x = layers.Dropout(0.3, seed=1, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(len(SHAPES), name="classes")(x), name="classifier")


def images(random: Any, rows: int) -> tuple:
    """Noisy pictures of shapes of any colour and place: (rows, SIZE, SIZE, 3) and the shapes' numbers."""
    y = random.integers(0, len(SHAPES), rows)
    x = random.normal(0, 0.25, (rows, SIZE, SIZE, 3))
    for picture, shape in zip(x, y, strict=True):
        radius, (row, column) = random.uniform(4, 6), random.uniform(7, SIZE - 7, 2)
        down, right = np.mgrid[:SIZE, :SIZE].astype(float) - np.array([row, column])[:, None, None]
        distance, reach = np.hypot(down, right), np.maximum(abs(down), abs(right))
        inside = [
            distance < radius,
            abs(distance - radius) < 1.2,
            reach < radius * 0.85,
            (np.minimum(abs(down), abs(right)) < 1.2) & (reach < radius),
            (reach < radius) & (down.round() % 3 == 0),
        ][shape]
        picture[inside] += random.uniform(0.6, 1.4, 3)
    return x.astype("float32"), y


def accuracy(model: Any, random: Any) -> str:
    x, y = images(random, 256)
    right = (model.predict(x, batch_size=64, verbose=0).argmax(-1) == y).mean()
    return f"names {right:.1%} of 256 other images rightly"


CLASSIFIER_RULES = {
    r"conv_[02]/kernel": (None, None, None, "model"),
    r"conv_1/kernel": (None, None, "model", None),
    r"norm_[02]/(gamma|beta|moving_.*)": ("model",),
    r"hidden/kernel": ("batch", "model"),
    r"hidden/bias": ("model",),
    r"classes/kernel": ("model", None),
}


# ---- language model -------------------------------------------------------------------------------------------------
class Block(layers.Layer):
    """Attention and feed-forward, each with dropout before the residual."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm_1 = layers.LayerNormalization(name="norm_1")
        self.attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")
        self.norm_2 = layers.LayerNormalization(name="norm_2")
        self.up = layers.Dense(4 * WIDTH, activation="gelu", name="up")
        self.down = layers.Dense(WIDTH, name="down")
        self.drop_1, self.drop_2 = (
            layers.Dropout(0.1, seed=2, name="drop_1"),
            layers.Dropout(0.1, seed=3, name="drop_2"),
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        h = self.norm_1(x)
        x = x + self.drop_1(self.attention(h, h, use_causal_mask=True), training=training)
        return x + self.drop_2(self.down(self.up(self.norm_2(x))), training=training)


class LanguageModel(keras.Model):
    """A decoder whose output layer is the table of its characters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.characters = layers.ReversibleEmbedding(len(CHARACTERS), WIDTH, name="characters")
        self.places = layers.Embedding(LENGTH, WIDTH, name="places")
        self.blocks = [Block(name=f"block_{i}") for i in range(BLOCKS)]
        self.norm = layers.LayerNormalization(name="norm")

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.characters(x) + self.places(keras.ops.arange(LENGTH))
        for block in self.blocks:
            x = block(x, training=training)
        return self.characters(self.norm(x), reverse=True)


def language_model() -> Any:
    model = LanguageModel(name="lm")
    model(np.zeros((1, LENGTH), "int32"))  # builds it
    return model


def pieces(random: Any, rows: int) -> tuple:
    """Pieces of the text, and the same one character later."""
    text = np.array([CHARACTERS.index(c) for c in TEXT])
    starts = random.integers(0, len(text) - LENGTH, (rows, 1))
    x = text[starts + np.arange(LENGTH + 1)]
    return x[:, :-1], x[:, 1:]


def continuation(model: Any, random: Any) -> str:
    text = PROMPT
    for _ in range(NEW):
        window = text[-LENGTH:]
        x = np.array([[CHARACTERS.index(c) for c in window.ljust(LENGTH)]])
        chances = np.exp(model.predict_on_batch(x)[0, len(window) - 1].astype(float) / 0.5)
        text += random.choice(CHARACTERS, p=chances / chances.sum())
    return f"goes on with {PROMPT!r}: {text[len(PROMPT) :]!r}"


LANGUAGE_RULES = {
    r"lm/characters/embeddings": ("model", None),
    r"lm/places/embeddings": (None, "model"),
    r"lm/block_./attention/(query|key|value)/kernel": (None, "model", None),
    r"lm/block_./attention/(query|key|value)/bias": ("model", None),
    r"lm/block_./attention/attention_output/kernel": ("model", None, None),
    r"lm/block_./up/kernel": ("batch", "model"),
    r"lm/block_./up/bias": ("model",),
    r"lm/block_./down/kernel": ("model", "batch"),
}

WORKLOADS = [
    Workload("Image classifier", classifier, images, CLASSIFIER_RULES, accuracy),
    Workload("Language model", language_model, pieces, LANGUAGE_RULES, continuation),
]
