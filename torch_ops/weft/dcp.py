"""torch.distributed.checkpoint (DCP) of sharded tensors: each rank saves and loads its own part, in the format that
DTensors and plain tensors are saved in, and its state dict functions lay out what they load.

DCP asks a tensor that is a part of a global one for its pieces, by methods that a sharded tensor has from here.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .after_import import after_import, replace_everywhere
from .process import rank
from .strings import listed
from .tensors import distribute_tensor, full_tensor, is_sharded, layout_of, map_tensors

_TENSOR: Any = torch.Tensor  # members are put in place of its own, of which its types know nothing


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Elements that are consecutive along each dimension, in the global tensor and in a rank's part of it."""

    start: torch.Size  # in the global tensor
    part_start: torch.Size
    sizes: torch.Size


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where a rank's part lies in the global tensor."""

    shape: torch.Size  # the global one
    pieces: tuple[_Piece, ...]


class Part(torch.Tensor):
    """A rank's part of a sharded tensor as DCP takes it: a plain tensor whose place in the global one it knows.

    Also what DCP copies before it saves in the background, by a thread or a process that must not communicate.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    _places: _Places

    def __create_write_items__(self, fqn: str, part: torch.Tensor) -> list:
        from torch.distributed.checkpoint import metadata, planner

        properties = metadata.TensorProperties.create_from_tensor(self.as_subclass(torch.Tensor))
        return [
            planner.WriteItem(
                index=metadata.MetadataIndex(fqn, chunk.offsets),
                type=planner.WriteItemType.SHARD,
                tensor_data=planner.TensorWriteData(chunk=chunk, properties=properties, size=self._places.shape),
            )
            for chunk in self.__create_chunk_list__()
        ]

    def __create_chunk_list__(self) -> list:
        from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

        return [ChunkStorageMetadata(offsets=p.start, sizes=p.sizes) for p in self._places.pieces]

    def __get_tensor_shard__(self, index: Any) -> torch.Tensor:
        for piece in self._places.pieces:
            if index.offset is None or piece.start == index.offset:
                plain = self.as_subclass(torch.Tensor)
                if plain.dim() != len(piece.sizes) or 0 in self._places.shape:
                    return plain.new_empty(piece.sizes)
                ends = map(sum, zip(piece.part_start, piece.sizes, strict=True))
                return plain[tuple(map(slice, piece.part_start, ends))]
        raise ValueError(f"[W116] {index.fqn}: this rank holds no part of it that begins at {tuple(index.offset)}")


def _places_of(x: torch.Tensor) -> _Places:
    if 0 in x.shape:  # saved by all ranks as one
        return _Places(x.shape, (_Piece(torch.Size([0] * x.dim()), torch.Size([0] * x.dim()), x.shape),))
    held = layout_of(x)._object.local_indices(rank(), list(x.shape))
    along = [_with_part_starts(ranges) for ranges in held]
    pieces = [_Piece(*map(torch.Size, zip(*dims, strict=True))) for dims in itertools.product(*along) if dims]
    return _Places(x.shape, tuple(pieces) if along else (_Piece(x.shape, x.shape, x.shape),))


def _with_part_starts(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    starts = itertools.accumulate((length for _, length in ranges), initial=0)
    return [(start, at, length) for (start, length), at in zip(ranges, starts, strict=False) if length]


def _as_part(local: torch.Tensor, places: _Places) -> Part:
    part = local.detach().as_subclass(Part)
    part._places = places
    return part


def _part_of(x: torch.Tensor, fill: bool = False) -> Part:
    """Shares its memory. A collective where a reduction is pending.

    Args:
        fill: it is about to be written.
    """
    return _as_part(torch.ops.weft._part(x, fill), _places_of(x))


def _parts_in(values: Any) -> Any:
    return map_tensors(values, lambda t: _part_of(t) if is_sharded(t) else t)


def install() -> None:
    """Gives sharded tensors DCP's methods, and mends its functions now or once they are imported."""
    for name in ("__create_write_items__", "__create_chunk_list__", "__get_tensor_shard__"):
        setattr(_TENSOR, name, property(functools.partial(_method_of, name)))
    after_import("torch.distributed.checkpoint._state_dict_stager", _mend_stager)
    after_import("torch.distributed._state_dict_utils", _mend_functions)
    after_import("torch.distributed.checkpoint.hf_storage", _check_hugging_face)


def _method_of(name: str, x: torch.Tensor) -> Callable:
    """DCP asks whether there is such a method: plain tensors have none."""
    if not is_sharded(x):
        raise AttributeError(f"{type(x).__name__!r} object has no attribute {name!r}")
    fill = name == "__create_chunk_list__"  # which is asked for to load into it
    return lambda *args: getattr(_part_of(x, fill), name)(*args)


def _mend_stager(stager: Any) -> None:
    cls = stager.StateDictStager
    if not hasattr(cls, "_offload_tensor"):
        return
    core = cls._offload_tensor

    @functools.wraps(core)
    def offload(self: Any, x: torch.Tensor, memo: dict, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not is_sharded(x):
            staged = core(self, x, memo, *args, **kwargs)
            return _as_part(staged, x._places) if isinstance(x, Part) else staged
        local = torch.ops.weft._part(x)
        self._keep_alive(local, memo)  # what is copied goes by its id
        return _as_part(core(self, local, memo, *args, **kwargs), _places_of(x))

    cls._offload_tensor = offload


def _check_hugging_face(storage: Any) -> None:
    """Refuses what Hugging Face's writer would lose: a file holds each name once, and there is one file unless it is
    told otherwise."""
    cls = storage.HuggingFaceStorageWriter
    core = cls.prepare_global_plan

    @functools.wraps(core)
    def prepare_global_plan(self: Any, plans: list) -> list:
        if not self.save_distributed and any(plan.items for plan in plans[1:]):
            raise ValueError(
                "[W117] HuggingFaceStorageWriter: several ranks hold parts of what is saved, and all would write one "
                "file: pass save_distributed=True (with enable_consolidation=True the folder holds whole tensors)"
            )
        for number, plan in enumerate(plans):
            names = [item.index.fqn for item in plan.items]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"[W117] HuggingFaceStorageWriter: {listed(twice)} of rank {number} lie in several pieces of the "
                    "whole, of which its files hold one each: save by weft.save, or by DCP's FileSystemWriter, or lay "
                    "them out in one piece a rank"
                )
        return core(self, plans)

    cls.prepare_global_plan = prepare_global_plan


def _mend_functions(utils: Any) -> None:
    for function in (_create_cpu_state_dict, _copy_state_dict, _gather_state_dict, _broadcast_tensors):
        _mend(utils, function)
    _mend(utils, _distribute_state_dict)


def _mend(module: Any, function: Callable) -> None:
    """Puts `function`, whose first argument is core's own, in the place of that, wherever it was imported."""
    core = getattr(module, function.__name__, None)
    if core is not None:
        replace_everywhere(core, functools.wraps(core)(functools.partial(function, core)))


def _create_cpu_state_dict(core: Callable, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
    parts = _parts_in(state_dict)
    return _parts_again(core(parts, *args, **kwargs), parts)


def _parts_again(values: Any, parts: Any) -> Any:
    """What was made of the parts is parts of the same wholes."""
    if isinstance(parts, Part):
        return _as_part(values, parts._places)
    if isinstance(parts, dict):
        return {key: _parts_again(value, parts[key]) for key, value in values.items()}
    if isinstance(parts, (list, tuple)):
        return type(parts)(map(_parts_again, values, parts))
    return values


def _copy_state_dict(core: Callable, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
    return core(_parts_in(state_dict), *args, **kwargs)


def _gather_state_dict(
    core: Callable, state_dict: Any, *, ranks_only: Sequence[int] = (), cpu_offload: bool = False, **kwargs: Any
) -> Any:
    kept = not ranks_only or torch.ops.weft.rank() in ranks_only

    def full(t: torch.Tensor) -> torch.Tensor:
        if not is_sharded(t):
            return t
        value = full_tensor(t.detach())
        return (value.cpu() if cpu_offload else value) if kept else value.new_empty(0)

    return core(map_tensors(state_dict, full), ranks_only=ranks_only, cpu_offload=cpu_offload, **kwargs)


def _broadcast_tensors(
    core: Callable, full_state_dict: Any, local_state_dict: Any, keys: list[str], *args: Any, **kwargs: Any
) -> None:
    sharded = {key: t for key in keys if is_sharded(t := local_state_dict.get(key))}
    core(full_state_dict, local_state_dict, keys, *args, **kwargs)
    for key, t in sharded.items():
        full = local_state_dict[key]
        local_state_dict[key] = distribute_tensor(full, layout_of(t)) if t.is_meta else t.detach().copy_(full)


def _distribute_state_dict(
    core: Callable, full_state_dict: Any, local_state_dict: Any, device: torch.device, *args: Any, **kwargs: Any
) -> None:
    laid_out = {}
    for key, value in full_state_dict.items():
        t = local_state_dict.get(key)
        if is_sharded(t) and isinstance(value, torch.Tensor):
            laid_out[key] = distribute_tensor(value.detach().to(device), layout_of(t))
    rest = {key: value for key, value in full_state_dict.items() if key not in laid_out}
    core(rest, local_state_dict, device, *args, **kwargs)
    local_state_dict.update(laid_out)
