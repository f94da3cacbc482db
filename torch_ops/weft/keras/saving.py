"""Models and weights saved once for all ranks: rank 0 writes the files of an unsharded model, the others send it their
parts, one variable at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import weft

from . import values, versions
from .hooks import wrap


def install(keras: versions.Keras) -> None:
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.saving import saving_lib

    lib = keras.distribution

    class Discarding(saving_lib.H5IOStore):
        """Where the other ranks save: gathers what is stored, in rank 0's order, and keeps nothing."""

        def __init__(self) -> None:
            pass

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: Any = None) -> Any:
            return self

        def __setitem__(self, key: str, value: Any) -> None:
            values.whole(value.value if isinstance(value, keras.core.Variable) else value)

        def close(self) -> None:
            pass

    def gather(model: Any, objects_to_skip: Any = None) -> None:
        skipped = {id(o) for o in objects_to_skip or ()}
        saving_lib._save_state(
            model, weights_store=Discarding(), assets_store=None, inner_path="", visited_saveables=skipped
        )

    @wrap(saving_lib, "save_model")
    def _(original: Callable, model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        return _once(
            lib.distribution(),
            f"saving a model to {filepath}",
            lambda: original(model, filepath, *args, **kwargs),
            lambda: gather(model),
        )

    @wrap(saving_lib, "save_weights_only")
    def _(original: Callable, model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        return _once(
            lib.distribution(),
            f"saving weights to {filepath}",
            lambda: original(model, filepath, *args, **kwargs),
            lambda: gather(model, kwargs.get("objects_to_skip", args[1] if len(args) > 1 else None)),
        )

    @wrap(legacy_h5_format, "save_model_to_hdf5")
    def _(original: Callable, model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        def beside() -> None:  # this old format cannot be walked without writing it
            with tempfile.TemporaryDirectory() as folder:
                original(model, str(Path(folder) / "model.h5"), *args, **kwargs)

        return _once(
            lib.distribution(),
            f"saving a model to {filepath}",
            lambda: original(model, filepath, *args, **kwargs),
            beside,
        )


def _once(distribution: Any, what: str, write: Callable, take_part: Callable) -> Any:
    """`write` on rank 0, `take_part` on the others; back when the file is there. An error is raised on all ranks."""
    if distribution is None or weft.world_size() == 1:
        return write()
    if weft.rank() == 0:
        try:
            out = write()
        except Exception as e:
            torch.ops.weft.tell_failure(what, f"{type(e).__name__}: {e}")
            raise
    else:
        out = take_part()
    torch.ops.weft.check_same([0], what, distribution.device_mesh.backend_mesh._object)
    return out
