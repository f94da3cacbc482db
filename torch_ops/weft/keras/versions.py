"""Which Keras is there, and where it keeps what Weft hooks into: the only file that knows one release from another."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NamedTuple

# Where the modules of each known release are. Another release is refused rather than half patched.
_CORE = {
    "3.15": "keras.src.backend.torch.core",
    "3.16": "keras.src.backend.torch.ops.core",
}
_TRAINER_CLASS = {"3.15": "TorchTrainer", "3.16": "Trainer"}


class Keras(NamedTuple):
    """The parts of one Keras release that Weft's hooks replace."""

    version: str
    core: ModuleType  # of the torch backend: Variable, convert_to_tensor, …
    trainer: type  # the class whose step functions run on batches
    distribution: ModuleType  # keras.src.distribution.distribution_lib


def find() -> Keras:
    """The Keras of this process.

    Raises:
        ImportError: no Keras; a release that Weft does not know; another backend than torch.
    """
    try:
        import keras
    except ImportError as e:
        raise ImportError("[W003] weft.keras: Keras is not installed; pip install keras") from e
    version = keras.__version__
    release = ".".join(version.split(".")[:2])
    if release not in _CORE:
        known = " and ".join(f"{r}.x" for r in _CORE)
        raise ImportError(
            f"[W003] weft.keras: Keras {version} is not known to this version of Weft, which knows {known}"
        )
    if keras.backend.backend() != "torch":
        raise ImportError(
            f"[W003] weft.keras: Keras runs on its {keras.backend.backend()} backend; set KERAS_BACKEND=torch in the "
            "environment before Keras is imported"
        )
    trainer: Any = importlib.import_module("keras.src.backend.torch.trainer")
    return Keras(
        version,
        importlib.import_module(_CORE[release]),
        getattr(trainer, _TRAINER_CLASS[release]),
        importlib.import_module("keras.src.distribution.distribution_lib"),
    )
