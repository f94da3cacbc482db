"""Models and weights saved once for all ranks: rank 0 writes the files of an unsharded model, the others send it their
parts, one variable at a time."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

import weft

from ..in_step import meet, picklable, telling
from . import values, versions
from .hooks import rebind, wrap

_within = False  # a save that all ranks are in: what it calls goes its own way


def install(keras: versions.Keras) -> None:
    from keras.src.saving import saving_api
    from keras.src.utils import io_utils

    _save_files_once(keras)
    for name in ("save_model", "save_weights"):
        _ask_once(getattr(saving_api, name), keras.distribution.distribution, io_utils)
    for name in ("load_model", "load_weights"):
        _load_together(getattr(saving_api, name), keras.distribution.distribution)
    _call_back_once(keras)


def _gather(keras: versions.Keras, model: Any, objects_to_skip: Any = None) -> None:
    """What the other ranks do while rank 0 saves a model: what it stores is gathered, in its order."""
    from keras.src.saving import saving_lib

    class Discarding(saving_lib.H5IOStore):
        """Gathers what is stored, and keeps nothing."""

        def __init__(self) -> None:
            self._h5_entry_group: dict[str, None] = {}

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: Any = None) -> Any:
            self._h5_entry_group = {}
            return self

        def __setitem__(self, key: str, value: Any) -> None:
            values.full(value.value if isinstance(value, keras.core.Variable) else value)
            self._h5_entry_group[key] = None

        def __delitem__(self, key: str) -> None:
            del self._h5_entry_group[key]

        def close(self) -> None:
            pass

    skipped = {id(o) for o in objects_to_skip or ()}
    saving_lib._save_state(
        model, weights_store=Discarding(), assets_store=None, inner_path="", visited_saveables=skipped
    )


def _gather_legacy(model: Any, include_optimizer: bool) -> None:
    """Gathers in the order in which legacy_h5_format.save_model_to_hdf5 writes."""
    from keras.src.legacy.saving import legacy_h5_format

    own = [v for v in model._trainable_variables + model._non_trainable_variables if v in model.weights]
    layers = sorted(model.layers, key=lambda layer: layer.name)
    optimizer = getattr(model, "optimizer", None) if include_optimizer else None
    for group in [*map(legacy_h5_format._legacy_weights, layers), own, optimizer.variables if optimizer else []]:
        for v in group:
            values.full(v.value)


def _save_files_once(keras: versions.Keras) -> None:
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.saving import saving_lib

    lib = keras.distribution

    @wrap(saving_lib, "save_model")
    def _(original: Callable, model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(filepath, io.IOBase):  # each rank has its own
            return original(model, filepath, *args, **kwargs)
        return once(
            lib.distribution(),
            f"saving a model to {filepath}",
            lambda: original(model, filepath, *args, **kwargs),
            lambda: _gather(keras, model),
        )

    @wrap(saving_lib, "save_weights_only")
    def _(
        original: Callable, model: Any, filepath: Any, max_shard_size: Any = None, objects_to_skip: Any = None
    ) -> Any:
        return once(
            lib.distribution(),
            f"saving weights to {filepath}",
            lambda: original(model, filepath, max_shard_size, objects_to_skip),
            lambda: _gather(keras, model, objects_to_skip),
        )

    @wrap(legacy_h5_format, "save_model_to_hdf5")
    def _(original: Callable, model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> Any:
        return once(
            lib.distribution(),
            f"saving a model to {filepath}",
            lambda: original(model, filepath, overwrite, include_optimizer),
            lambda: _gather_legacy(model, include_optimizer),
        )


def _call_back_once(keras: versions.Keras) -> None:
    """The callbacks that write files."""
    from keras.src.callbacks import BackupAndRestore, ModelCheckpoint
    from keras.src.utils import file_utils

    lib = keras.distribution

    @wrap(ModelCheckpoint, "_should_save_model")
    def _(original: Callable, self: Any, epoch: int, batch: int | None, logs: Any, filepath: str) -> bool:
        folder = os.path.dirname(filepath)

        def make_folder() -> None:
            if folder and not file_utils.exists(folder):
                file_utils.makedirs(folder)

        save = original(self, epoch, batch, logs, filepath)
        if save:
            once(lib.distribution(), f"making the folder {folder}", make_folder, lambda: None)
        return save

    @wrap(BackupAndRestore, "_save_model")
    def _(original: Callable, self: Any) -> None:
        what = f"backing up to {self.backup_dir}"
        once(lib.distribution(), what, lambda: original(self), lambda: _gather(keras, self.model))

    @wrap(BackupAndRestore, "on_train_begin")
    def _(original: Callable, self: Any, logs: Any = None) -> None:
        # It may put an older backup in place of one that cannot be read: rank 0 does, and the others load after it.
        distribution, what = lib.distribution(), f"restoring from {self.backup_dir}"
        once(distribution, what, lambda: original(self, logs), lambda: None)
        if distribution is not None:
            _together(distribution, what, lambda: original(self, logs) if weft.rank() > 0 else None)

    @wrap(BackupAndRestore, "on_train_end")
    def _(original: Callable, self: Any, logs: Any = None) -> None:
        what = f"removing the backup in {self.backup_dir}"
        once(lib.distribution(), what, lambda: original(self, logs), lambda: None)


def _ask_once(original: Callable, distribution_of: Callable, io_utils: Any) -> None:
    """overwrite=False: rank 0 looks for the file and asks, before it may write it under the other ranks' eyes."""

    @functools.wraps(original)
    def save(model: Any, filepath: Any, overwrite: bool = True, *args: Any, **kwargs: Any) -> Any:
        def may_write() -> bool:
            exists = isinstance(filepath, (str, os.PathLike)) and os.path.exists(filepath)
            return not exists or io_utils.ask_to_proceed_with_overwrite(str(filepath))

        if not overwrite and distribution_of() is not None:
            if not once(distribution_of(), f"looking for {filepath}", may_write, lambda: None):
                return None
            overwrite = True
        return original(model, filepath, overwrite, *args, **kwargs)

    rebind(original, save)


def _load_together(original: Callable, distribution_of: Callable) -> None:
    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        return _together(distribution_of(), original.__name__, lambda: original(*args, **kwargs))

    rebind(original, load)


def _together(distribution: Any, what: str, action: Callable) -> Any:
    """`action` on all ranks; where one of them fails in it, all do."""
    if distribution is None or _within or weft.world_size() == 1:
        return action()
    with telling(what), _inside():
        out = action()
    meet(what, distribution.device_mesh.backend_mesh)
    return out


def once(distribution: Any, what: str, write: Callable, take_part: Callable) -> Any:
    """`write` on rank 0, `take_part` on the others; back on all ranks when it is done, with rank 0's result.

    Where `write` fails, rank 0 goes through what it has not gathered yet, and its error is raised on all ranks, which
    are in step still. An error of another rank is raised by all as a RuntimeError that names it.
    """
    if distribution is None or _within or weft.world_size() == 1:
        return write()
    result, error = None, None
    with telling(what), _inside():
        if weft.rank() > 0:
            take_part()
        else:
            with weft.trace() as trace:
                before = values.gathered()
                try:
                    result = write()
                except Exception as e:
                    error = e
            if error is not None:
                if any(row.op != "full_tensor" for row in trace.rows):
                    raise error  # how far the others are is not known
                with values.skipping(values.gathered() - before):
                    take_part()
    meet(what, distribution.device_mesh.backend_mesh)
    received = [(result, picklable(error))]
    dist.broadcast_object_list(received, src=0)
    if error is None:
        result, error = received[0]
    if error is not None:
        if weft.rank() > 0:
            error.add_note(f"raised on rank 0, {what}")
        raise error
    return result


@contextmanager
def _inside() -> Iterator[None]:
    global _within
    _within = True
    try:
        yield
    finally:
        _within = False
