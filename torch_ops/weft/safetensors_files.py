"""The safetensors library's files of sharded tensors: those of the plain ones, byte for byte.

Every rank calls the library's functions alike. A file is written by the first of the ranks that name it, one variable
at a time, which the other ranks send it.
"""

from __future__ import annotations

import functools
import json
import os
import struct
from collections.abc import Mapping
from typing import Any

import torch

from .after_import import after_import, replace_everywhere
from .in_step import agree
from .savers import writes
from .tensors import full_tensor, is_sharded, value_of

# The safetensors library orders tensors in a file so: larger and later kinds first, then by name.
_KINDS = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3", torch.int16: "I16", torch.uint16: "U16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.uint32: "U32", torch.float32: "F32", torch.complex64: "C64",
    torch.float64: "F64", torch.int64: "I64", torch.uint64: "U64",
}  # fmt: skip


def install() -> None:
    """Puts it into safetensors.torch, now or once it is imported."""
    after_import("safetensors.torch", _install)


def _install(library: Any) -> None:
    save_file, save, remove = library.save_file, library.save, library._remove_duplicate_names

    @functools.wraps(save_file)
    def save_full_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
        if not _any_sharded(tensors):
            return save_file(tensors, filename, metadata)
        _check(library, tensors)
        here = writes("save_file", filename)
        error: Exception | None = None
        try:
            if here:
                write(tensors, filename, metadata)
            else:
                take_part(tensors)
        except Exception as e:
            error = e
        agree("save_file", error)

    @functools.wraps(save)
    def save_full(tensors: Any, metadata: Any = None) -> bytes:
        if not _any_sharded(tensors):
            return save(tensors, metadata)
        _check(library, tensors)
        return save({name: _full(t) for name, t in tensors.items()}, metadata)

    @functools.wraps(remove)
    def remove_duplicate_names(state_dict: Any, **kwargs: Any) -> Any:
        return remove(stand_ins(state_dict), **kwargs)

    for function, replacement in ((save_file, save_full_file), (save, save_full), (remove, remove_duplicate_names)):
        replace_everywhere(function, replacement)


def _any_sharded(tensors: Any) -> bool:
    return isinstance(tensors, Mapping) and any(map(is_sharded, tensors.values()))


def stand_ins(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Plain tensors that lie in memory as those of one process do, views too; nothing of that memory is touched."""
    storages: dict[int, torch.UntypedStorage] = {}
    out = dict(tensors)
    for name, t in tensors.items():
        if is_sharded(t):
            memory = torch.ops.weft._memory(t.detach())
            if memory not in storages:
                root = torch.ops.weft._root_of(t.detach())
                storages[memory] = torch.empty_strided(root.shape, root.stride(), dtype=root.dtype).untyped_storage()
            out[name] = torch.empty(0, dtype=t.dtype).set_(storages[memory], t.storage_offset(), t.shape, t.stride())
    return out


def _check(library: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """What the library asks of tensors: contiguous, each with memory of its own. Raises its errors."""
    library._flatten_as_ptr(stand_ins(tensors), [])
    ordered(tensors)


def write(tensors: Mapping[str, torch.Tensor], file: str | os.PathLike, metadata: Any = None) -> None:
    """A safetensors file of those tensors, of which one is whole in memory at a time.

    Raises:
        ValueError: a dtype that the format has not.
    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name in ordered(tensors):
        t = tensors[name]
        size = t.numel() * t.element_size()
        header[name] = {"dtype": _KINDS[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    names = ordered(tensors)
    try:
        with open(file, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            while names:
                full = _full(tensors[names.pop(0)])
                out.write(full.view(-1).view(torch.uint8).numpy().data)
    finally:
        take_part({name: tensors[name] for name in names})  # the others send them whether they can be written or not


def take_part(tensors: Mapping[str, torch.Tensor]) -> None:
    """What the other ranks do meanwhile."""
    for name in ordered(tensors):
        if is_sharded(tensors[name]):
            full_tensor(tensors[name].detach())


def ordered(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    kinds = list(_KINDS)
    unknown = [f"{name} ({t.dtype})" for name, t in tensors.items() if t.dtype not in _KINDS]
    if unknown:
        raise ValueError(f"[W117] safetensors has no such dtype: {', '.join(unknown)}")
    return sorted(tensors, key=lambda name: (-kinds.index(tensors[name].dtype), name))


def _full(t: torch.Tensor) -> torch.Tensor:
    return value_of(t).cpu().contiguous().resolve_conj().resolve_neg()
