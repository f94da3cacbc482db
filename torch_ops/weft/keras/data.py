"""Batches on their way to their layouts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

import weft

from . import backend, debug, versions
from .hooks import rebind


def distribute_batch(batch: Any, distribution: Any) -> Any:
    """The batch laid out as the distribution says for data: split over the batch axis along dimension 0.

    Args:
        batch: any nesting of arrays and tensors. With `auto_shard_dataset` the whole batch, the same on every rank;
            without, each rank's own part of it (ranks along the other axes have the same part). Scalars, None and
            what is sharded already stay as they are.
    """
    from keras import tree

    own_part = not distribution.auto_shard_dataset and distribution.num_processes > 1
    return tree.map_structure(lambda leaf: _distribute(leaf, distribution, own_part), batch, none_is_leaf=True)


def _distribute(leaf: Any, distribution: Any, own_part: bool) -> Any:
    if leaf is None or isinstance(leaf, (str, bytes)) or weft.is_sharded(leaf):
        return leaf
    tensor = backend.as_tensor(leaf)
    if tensor.dim() == 0 or tensor.is_meta:
        return tensor
    layout = backend.weft_layout(distribution.get_data_layout(tuple(tensor.shape)))
    out = _from_parts(tensor, layout) if own_part else weft.distribute_tensor(tensor, layout)
    debug.batch(out)
    return out


def _from_parts(part: torch.Tensor, layout: weft.TensorLayout) -> torch.Tensor:
    """The global batch whose parts the ranks have. The last parts of an epoch may differ in size."""
    mesh, axes = layout.device_mesh, layout.axes[0]
    if axes is None:
        return weft.distribute_tensor(part, layout)
    rows = weft.TensorLayout((axes,), mesh)
    sizes = weft.full_tensor(weft.from_local(torch.tensor([part.shape[0]], device=part.device), rows)).tolist()
    total, largest = sum(sizes), max(sizes)
    if all(size == largest for size in sizes):
        return weft.from_local(part, layout, (total, *part.shape[1:]))
    # Not as torch.chunk would cut the whole: padded to one size, gathered, and cut anew.
    padded = part.new_zeros((largest, *part.shape[1:]))
    padded[: part.shape[0]] = part
    gathered = weft.full_tensor(weft.from_local(padded, layout)).split(largest)
    return weft.distribute_tensor(torch.cat([g[:n] for g, n in zip(gathered, sizes, strict=True)]), layout)


def install(keras: versions.Keras) -> None:
    """Keras's adapters hand every rank the batches as they come: the step lays them out."""
    import keras.src.trainers.data_adapters as adapters

    lib = keras.distribution
    original: Callable = adapters.get_data_adapter

    def get_data_adapter(*args: Any, **kwargs: Any) -> Any:
        distribution = lib.distribution()
        if distribution is None:
            return original(*args, **kwargs)
        # To the adapters, which would refuse the input or take their share of it, it is a job of one process.
        alone = {"_is_multi_process": False, "_num_processes": 1, "_process_id": 0}
        before = {name: getattr(distribution, name) for name in alone}
        vars(distribution).update(alone)
        try:
            return original(*args, **kwargs)
        finally:
            vars(distribution).update(before)

    rebind(original, get_data_adapter)
    trainer = sys.modules[keras.trainer.__module__]
    # Keras 3.16 has another way through the data under ModelParallel, which shuffles otherwise than in one process.
    trainer.TorchEpochIterator._get_iterator = lambda self: self.data_adapter.get_torch_dataloader()
    if hasattr(trainer, "distribute_data_input"):
        trainer.distribute_data_input = lambda batch, layout: batch
