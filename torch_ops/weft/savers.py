"""torch.save of what has sharded tensors in it: the file of one process, with their full values.

Every rank calls it. A file is written by the first of the ranks that name it; an object without a name by each.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist

from .in_step import agree
from .readers import full_copy
from .tensors import is_sharded

_TENSOR: Any = torch.Tensor
_full_values: dict[tuple, torch.Tensor] | None = None  # of what is being pickled by torch.save
_by_one_rank: ContextVar[bool] = ContextVar("by_one_rank", default=False)


def writes(what: str, target: Any) -> bool:
    """Whether this rank is to write the file, or the object, that the ranks name. All of them ask.

    Raises:
        ValueError: a rank is elsewhere.
    """
    torch.ops.weft.check_same([0], f"{what} of sharded tensors, which every rank calls alike", None)
    path = target if isinstance(target, (str, os.PathLike)) else getattr(target, "name", None)
    path = os.path.abspath(path) if isinstance(path, (str, os.PathLike)) else None
    rank, paths = torch.ops.weft.rank(), [path]
    if torch.ops.weft.world_size() > 1:
        paths = [None] * dist.get_world_size()
        dist.all_gather_object(paths, path)
    return path is None or paths.index(path) == rank


@contextmanager
def without_full_values() -> Iterator[None]:
    """While it is entered, torch.save is one rank's own call, which no sharded tensor can be given to."""
    token = _by_one_rank.set(True)
    try:
        yield
    finally:
        _by_one_rank.reset(token)


def place_of(x: torch.Tensor) -> tuple:
    """Equal for sharded tensors that share all of their memory, such as tied variables."""
    memory = torch.ops.weft._memory(x.detach())
    return memory, x.shape, x.stride(), x.storage_offset(), x.dtype, x.is_conj(), x.is_neg()


def install() -> None:
    """Puts it in the place of torch.save."""
    core, core_reduce = torch.save, _TENSOR.__reduce_ex__

    @functools.wraps(core)
    def save(obj: Any, f: Any, pickle_module: Any = pickle, *args: Any, **kwargs: Any) -> None:
        together = torch.ops.weft._any_mesh() and not _by_one_rank.get()
        found = _sharded_in(obj, pickle_module) if together else []
        if not found:
            return core(obj, f, pickle_module, *args, **kwargs)
        here = writes("torch.save", f)
        full_values = _full_values_of(found, here)
        error: Exception | None = None
        try:
            if here:
                with _pickled_as(full_values):
                    core(obj, f, pickle_module, *args, **kwargs)
        except Exception as e:
            error = e
        agree("torch.save", error)

    @functools.wraps(core_reduce)
    def reduce_ex(self: torch.Tensor, protocol: Any) -> Any:
        if _full_values is not None and is_sharded(self) and (place := place_of(self)) in _full_values:
            value: Any = _full_values[place].detach().requires_grad_(self.requires_grad)
            value.__dict__.update(self.__dict__)
            return core_reduce(value, protocol)
        return core_reduce(self, protocol)

    torch.save = save
    _TENSOR.__reduce_ex__ = reduce_ex


def _full_values_of(tensors: list[torch.Tensor], keep: bool) -> dict[tuple, Any]:
    """The full values by their places, None on ranks that do not keep them. Views of one another are so, too."""
    by_memory: dict[tuple, dict[tuple, torch.Tensor]] = {}
    for x in map(torch.Tensor.detach, tensors):
        by_memory.setdefault((torch.ops.weft._memory(x), x.dtype), {}).setdefault(place_of(x), x)
    values = {}
    for places in by_memory.values():
        root = torch.ops.weft._root_of(next(iter(places.values())))
        whole = full_copy(root) if len(places) > 1 else None
        for place, x in places.items():
            value = _view_of(whole, root, x) if whole is not None else None
            value = full_copy(x) if value is None else value
            values[place] = value if keep else None
    return values


def _view_of(whole: torch.Tensor, root: torch.Tensor, x: torch.Tensor) -> torch.Tensor | None:
    """What `x` is of its root, of the root's full value; None where that lies otherwise, or its values do."""
    alike = all(t.dtype == x.dtype and not t.is_conj() and not t.is_neg() for t in (root, x))
    if alike and (whole.stride(), whole.storage_offset()) == (root.stride(), root.storage_offset()):
        return whole.as_strided(x.shape, x.stride(), x.storage_offset())
    return None


@contextmanager
def _pickled_as(full_values: dict) -> Iterator[None]:
    global _full_values
    _full_values = full_values
    try:
        yield
    finally:
        _full_values = None


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)


def _sharded_in(value: Any, pickle_module: Any) -> list[torch.Tensor]:
    """The sharded tensors that are met where the value is pickled, in that order."""
    found: dict[int, torch.Tensor] = {}
    attributes = [value]  # of tensors, which are pickled with them

    class Finder(pickle_module.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, torch.Tensor):
                return 0 if torch.is_storage(obj) else None
            if id(obj) not in seen:
                seen[id(obj)] = obj
                attributes.extend(filter(None, [vars(obj)]))
            if is_sharded(obj):
                found[id(obj)] = obj
            return 0  # what else is in it is not looked at

    seen: dict[int, torch.Tensor] = {}
    for one in attributes:  # to which more are added meanwhile
        try:
            Finder(_Nowhere(), 2).dump(one)
        except Exception:  # torch.save says so itself
            pass
    return list(found.values())
