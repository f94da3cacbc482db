"""Batches on their way to their layouts."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    tensors: list[torch.Tensor] = []

    def prepared(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, (str, bytes)) or weft.is_sharded(leaf):
            return leaf
        tensor = backend.as_tensor(leaf)
        if tensor.dim() > 0 and not tensor.is_meta:
            tensors.append(tensor)
        return tensor

    batch = tree.map_structure(prepared, batch, none_is_leaf=True)
    if not tensors:
        return batch
    if not distribution.auto_shard_dataset and distribution.num_processes > 1:
        laid_out = _from_parts(tensors, distribution)
    else:
        laid_out = _from_full_batch(tensors, distribution)
    for tensor in laid_out:
        debug.batch(tensor)
    found = {id(plain): tensor for plain, tensor in zip(tensors, laid_out, strict=True)}
    return tree.map_structure(lambda leaf: found.get(id(leaf), leaf), batch, none_is_leaf=True)


@contextmanager
def telling_of_parts() -> Iterator[None]:
    """Where the ranks' batches turn out to differ, the error says what ranks that load their own parts must set."""
    try:
        yield
    except ValueError as e:
        if "[shard_batch]" in str(e) or "the batch (shapes" in str(e):
            e.add_note(
                "weft.keras: every rank gives the same whole batch, of which it keeps its part; where each loads a "
                "part of its own (tf.data's shard, a DistributedSampler), set auto_shard_dataset=False"
            )
        raise


def _layout(shape: tuple[int, ...], distribution: Any) -> weft.TensorLayout:
    known = vars(distribution).setdefault("_weft_data_layouts", {})
    if shape not in known:
        known[shape] = backend.weft_layout(distribution.get_data_layout(shape))
    return known[shape]


def _empty(like: torch.Tensor, shape: tuple[int, ...], layout: weft.TensorLayout) -> torch.Tensor:
    return torch.ops.weft._empty(shape, layout._object, dtype=like.dtype, device=like.device)


def _from_full_batch(tensors: list[torch.Tensor], distribution: Any) -> list[torch.Tensor]:
    """The batch that every rank has: each takes its part, nothing moves. Where ranks were given different shapes or
    dtypes all raise ValueError, at the step's first collective or at its end."""
    layouts = [_layout(tuple(t.shape), distribution)._id for t in tensors]
    return torch.ops.weft._distribute_batch(tensors, layouts)


def _from_parts(parts: list[torch.Tensor], distribution: Any) -> list[torch.Tensor]:
    """The global batch whose parts the ranks have. The last parts of an epoch may differ in size."""
    layouts = [_layout(tuple(part.shape), distribution) for part in parts]
    axes, mesh = layouts[0].axes[0], layouts[0].device_mesh
    if axes is None:
        return _from_full_batch(parts, distribution)
    facts = [(tuple(part.shape[1:]), str(part.dtype)) for part in parts]
    what = "the batch (shapes but for their first dimension, dtypes)"
    torch.ops.weft.check_same([zlib.crc32(repr(facts).encode())], what, mesh._object, soon=True)
    counts = torch.tensor([[part.shape[0] for part in parts]], device=parts[0].device)
    by_rank = weft.full_tensor(weft.from_local(counts, weft.TensorLayout((axes, None), mesh)))
    sizes = by_rank.t().tolist()
    return [_joined(part, layout, of_ranks) for part, layout, of_ranks in zip(parts, layouts, sizes, strict=True)]


def _joined(part: torch.Tensor, layout: weft.TensorLayout, sizes: list[int]) -> torch.Tensor:
    """The full batch, of parts with so many rows each."""
    total, largest, rest = sum(sizes), max(sizes), tuple(part.shape[1:])
    if all(size == largest for size in sizes):
        out = _empty(part, (total, *rest), layout)
        weft.local_tensor(out).copy_(part)
        return out
    # The parts are not as torch.chunk would cut the full batch: padded to one size, gathered, and cut anew.
    padded = _empty(part, (largest * len(sizes), *rest), layout)
    weft.local_tensor(padded)[: part.shape[0]] = part
    gathered = weft.full_tensor(padded).split(largest)
    full = torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])
    return _empty(full, (total, *rest), layout).copy_(full)


def _refuse_distributed_dataset(data: Any) -> None:
    """TensorFlow's datasets of a tf.distribute strategy, which know TensorFlow's replicas and not Keras's ranks."""
    kinds = ("DistributedDataset", "DistributedDatasetsFromFunction", "DistributedDatasetInterface")
    for parent in type(data).__mro__:
        if parent.__name__ in kinds and parent.__module__.startswith("tensorflow."):
            raise ValueError(
                f"[W130] {type(data).__name__}: a dataset that a tf.distribute strategy has distributed cannot feed "
                "ranks of keras.distribution. Give the tf.data.Dataset of whole batches, of which each rank takes its "
                "part; or, with auto_shard_dataset=False, the one of this rank's own part"
            )


def install(keras: versions.Keras) -> None:
    """Keras's adapters hand every rank the batches as they come: the step lays them out."""
    import keras.src.trainers.data_adapters as adapters

    lib = keras.distribution
    original: Callable = adapters.get_data_adapter

    def get_data_adapter(*args: Any, **kwargs: Any) -> Any:
        distribution = lib.distribution()
        if distribution is None:
            return original(*args, **kwargs)
        _refuse_distributed_dataset(args[0] if args else kwargs.get("x"))
        # The adapters, which would refuse the input or take their share of it, see a job of one process.
        alone = {"_is_multi_process": False, "_num_processes": 1, "_process_id": 0}
        before = {name: getattr(distribution, name) for name in alone}
        vars(distribution).update(alone)
        try:
            return original(*args, **kwargs)
        finally:
            vars(distribution).update(before)

    rebind(original, get_data_adapter)
    trainer: Any = sys.modules[keras.trainer.__module__]
    # Keras 3.16 has another way through the data under ModelParallel, which shuffles otherwise than in one process.
    trainer.TorchEpochIterator._get_iterator = lambda self: self.data_adapter.get_torch_dataloader()
    if hasattr(trainer, "distribute_data_input"):
        trainer.distribute_data_input = lambda batch, layout: batch
