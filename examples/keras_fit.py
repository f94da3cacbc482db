"""Trains a Keras model on the torch backend with its weights split over one mesh axis and its batches over the other.

    torchrun --nproc-per-node 4 examples/keras_fit.py

Everything between set_distribution and save is Keras as it is written for one process.
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import weft.keras


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="classifier.keras", help="the file that the model is saved to")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()

    weft.keras.enable()
    keras.distribution.initialize()
    keras.utils.set_random_seed(0)
    ranks = len(keras.distribution.list_devices("cpu"))
    mesh = keras.distribution.DeviceMesh((2, ranks // 2) if ranks % 2 == 0 else (ranks, 1), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*/up/kernel"] = (None, "model")
    layouts[".*/up/bias"] = ("model",)
    layouts[".*/down/kernel"] = ("model", None)
    distribution = keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)

    x = np.random.default_rng(0).normal(size=(512, 16)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    model = keras.Sequential(
        [
            keras.layers.Input((16,)),
            keras.layers.Dense(64, activation="gelu", name="up"),
            keras.layers.Dense(16, name="down"),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(2, activation="softmax"),
        ],
        name="classifier",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=args.epochs, validation_split=0.25, verbose=0)
    if weft.rank() == 0:
        print(weft.keras.report(model))
        print(f"accuracy {history.history['val_accuracy'][-1]:.2f}")
    model.save(args.out)  # by rank 0, as one process would


if __name__ == "__main__":
    main()
