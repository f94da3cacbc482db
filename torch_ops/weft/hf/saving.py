"""`save_pretrained` of a sharded model: rank 0 writes what the plain model would, one variable at a time, which the
other ranks send it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
from collections.abc import Iterator
from typing import Any

import torch

from ..after_import import after_import
from ..in_step import agree
from ..safetensors_files import stand_ins, take_part, write
from ..tensors import is_sharded
from .reading import replaced

_WHAT = "save_pretrained"


def install() -> None:
    """Puts it into transformers, now or once it is imported."""
    after_import("transformers.modeling_utils", _install)


def _install(modeling: Any) -> None:
    cls = modeling.PreTrainedModel
    save = cls.save_pretrained
    names = ("remove_tied_weights_from_state_dict", "split_torch_state_dict_into_shards", "safe_save_file")
    if not all(hasattr(modeling, name) for name in names):
        return  # an earlier release: it says that a sharded tensor has no storage
    signature = inspect.signature(save)

    @functools.wraps(save)
    def save_pretrained(self: Any, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        state = kwargs.get("state_dict") or {}
        if not any(map(is_sharded, [*self.parameters(), *self.buffers(), *state.values()])):
            return save(self, save_directory, *args, **kwargs)
        torch.ops.weft.check_same([0], f"{_WHAT} of a sharded model, which every rank calls alike", None)
        given = signature.bind(self, save_directory, *args, **kwargs).arguments
        writes = given.get("is_main_process", True) and torch.ops.weft.rank() == 0
        error: Exception | None = None
        with _one_writes(modeling, self, writes) as files:
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
def _one_writes(modeling: Any, model: Any, writes: bool) -> Iterator[_Files]:
    """What transformers calls while it saves, for tensors that have no memory of their own.

    Args:
        writes: whether this rank writes the files.
    """
    remove, split = modeling.remove_tied_weights_from_state_dict, modeling.split_torch_state_dict_into_shards
    files = _Files()

    def remove_tied(state_dict: dict[str, Any], model: Any) -> dict[str, Any]:
        """Tied are those entries that share memory."""
        kept = remove(stand_ins(state_dict), model)
        return {name: t for name, t in state_dict.items() if name in kept}

    def split_into_files(state_dict: dict[str, Any], **kwargs: Any) -> Any:
        if not writes and getattr(model, "_hf_peft_config_loaded", False):
            state_dict = model.get_adapter_state_dict(state_dict=state_dict)  # as is done where they are written
        out = split(stand_ins(state_dict), **kwargs)
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
