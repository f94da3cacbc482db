"""`save_pretrained` of a sharded model: rank 0 writes what the plain model would, one variable at a time, which the
other ranks send it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..after_import import after_import
from ..in_step import agree
from ..tensors import full_tensor, is_sharded
from .reading import replaced

_WHAT = "save_pretrained"
# As the safetensors library orders tensors in a file: larger and later kinds first, then by name.
_KINDS = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3", torch.int16: "I16", torch.uint16: "U16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.uint32: "U32", torch.float32: "F32", torch.complex64: "C64",
    torch.float64: "F64", torch.int64: "I64", torch.uint64: "U64",
}  # fmt: skip


def install() -> None:
    """Puts it into transformers, now or once it is imported."""
    after_import("transformers.modeling_utils", _install)


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
                whole = _whole(tensors[names.pop(0)])
                out.write(whole.view(-1).view(torch.uint8).numpy().data)
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
        raise ValueError(f"{_WHAT}: safetensors has no such dtype: {', '.join(unknown)}")
    return sorted(tensors, key=lambda name: (-kinds.index(tensors[name].dtype), name))


def _whole(t: torch.Tensor) -> torch.Tensor:
    whole = full_tensor(t.detach()) if is_sharded(t) else t.detach()
    return whole.cpu().contiguous().resolve_conj().resolve_neg()


def _install(modeling: Any) -> None:
    cls = modeling.PreTrainedModel
    save = cls.save_pretrained
    names = ("remove_tied_weights_from_state_dict", "split_torch_state_dict_into_shards", "safe_save_file")
    if not all(hasattr(modeling, name) for name in names):
        return  # an earlier release: it says that a sharded tensor has no storage

    @functools.wraps(save)
    def save_pretrained(self: Any, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        given = kwargs.get("state_dict") or {}
        if not any(map(is_sharded, [*self.parameters(), *self.buffers(), *given.values()])):
            return save(self, save_directory, *args, **kwargs)
        error: Exception | None = None
        with _one_writes(modeling) as files:
            try:
                save(self, save_directory, *args, **kwargs)
            except Exception as e:
                error = e
            if files.parted and error is not None:
                raise error
            if not files.known:
                agree(_WHAT, error)
            for tensors in files.left:
                take_part({name: t.contiguous() for name, t in tensors.items()})
        agree(_WHAT, error)

    cls.save_pretrained = save_pretrained


@dataclasses.dataclass
class _Files:
    """What rank 0 writes, in its order."""

    known: bool = False  # this rank has come to where it begins
    parted: bool = False  # not all have
    left: list[dict[str, torch.Tensor]] = dataclasses.field(default_factory=list)  # not written by this rank


@contextlib.contextmanager
def _one_writes(modeling: Any) -> Iterator[_Files]:
    """What transformers calls while it saves, for tensors that have no memory of their own."""
    remove, split = modeling.remove_tied_weights_from_state_dict, modeling.split_torch_state_dict_into_shards
    files = _Files()

    def remove_tied(state_dict: dict[str, Any], model: Any) -> dict[str, Any]:
        """Tied are those entries that are one variable; transformers looks at their memory."""
        objects = {name: id(t) for name, t in model.state_dict(keep_vars=True).items()}
        stand_ins: dict[Any, torch.Tensor] = {}
        known = {}
        for name, t in state_dict.items():
            if is_sharded(t):
                key = objects.get(name, name)
                t = stand_ins.setdefault(key, torch.empty(1, dtype=t.dtype).expand(t.shape))
            known[name] = t
        kept = remove(known, model)
        return {name: t for name, t in state_dict.items() if name in kept}

    def split_into_files(state_dict: dict[str, Any], **kwargs: Any) -> Any:
        whole = lambda t: torch.empty(t.shape, dtype=t.dtype, device="meta")  # noqa: E731
        out = split({name: whole(t) if is_sharded(t) else t for name, t in state_dict.items()}, **kwargs)
        files.known = files.parted = True
        agree(_WHAT, None)
        files.parted = False
        files.left = [{name: state_dict[name] for name in names} for names in out.filename_to_tensors.values()]
        return out

    def write_file(tensors: dict[str, torch.Tensor], filename: str, metadata: Any = None) -> None:
        files.left.pop(0)
        write(tensors, filename, metadata)

    with (
        replaced(modeling, "remove_tied_weights_from_state_dict", remove_tied),
        replaced(modeling, "split_torch_state_dict_into_shards", split_into_files),
        replaced(modeling, "safe_save_file", write_file),
    ):
        yield files
