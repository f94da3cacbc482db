"""Keras's distribution API on the torch backend, by Weft.

    import os; os.environ["KERAS_BACKEND"] = "torch"
    import keras, weft.keras
    weft.keras.enable()                                    # once, before set_distribution
    keras.distribution.initialize()                        # under torchrun; else a world of one process
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*/kernel"] = (None, "model")
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts))
    model = ...; model.compile(...); model.fit(...)        # nothing else changes

Every rank runs the same program. `fit`, `evaluate` and `predict` take the whole batch on every rank and each rank keeps
its part; with `auto_shard_dataset=False` each rank's batch is its own part of the global one.
"""

from .enabling import enable, enabled_version
from .paths import keras_path, torch_name
from .reporting import report

__all__ = ["enable", "enabled_version", "keras_path", "report", "torch_name"]
