"""A compiled model, and what its training is compared by."""

from typing import Any

from keras_torch.harness import differences, keras
from keras_torch.networks import mlp

SHAPE = (2, 2)


def compiled(**more: Any) -> Any:
    model = mlp()
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse", **more})
    return model


class Recorder(keras.callbacks.Callback):
    """What callbacks are given, by batch: Keras calls this kind from a pool of threads, in any order."""

    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.losses: dict[str, float] = {}
        self.outputs: dict[str, Any] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses[f"{self.epoch}.{batch}"] = float(logs["loss"])

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.outputs[str(batch)] = keras.ops.convert_to_numpy(logs["outputs"])


def wrong(expected: Any, got: Any, tolerance: float = 2e-5) -> dict[str, float]:
    return {path: d for path, d in differences(expected, got).items() if not d < tolerance}
