"""accelerate with sharded models: all ranks together are its one process, so what they hold together is gathered, and
saved once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from ..after_import import after_import, replace_everywhere
from ..safetensors_files import stand_ins
from ..tensors import is_sharded, tensors_in
from .reading import replaced


def install() -> None:
    """Puts it into accelerate, now or once it is imported."""
    after_import("accelerate.state", _install_waiting)
    after_import("accelerate.data_loader", _install_dispatching)
    after_import("accelerate.utils.operations", _install_operations)
    after_import("accelerate.utils.other", _install_saving)
    after_import("huggingface_hub.serialization._torch", _install_splitting)
    after_import("accelerate.accelerator", _install_preparing)


def as_one_process() -> None:
    """accelerate then neither wraps models nor deals out batches, and gathers nothing; its `process_index` stays the
    rank, by which the first writes."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    PartialState()  # made where there is none yet
    for state in (PartialState._shared_state, AcceleratorState._shared_state):
        if state.get("num_processes", 1) > 1:
            state.update(num_processes=1, distributed_type=DistributedType.NO)


def holds_sharded(model: Any) -> bool:
    return isinstance(model, torch.nn.Module) and any(map(is_sharded, model.parameters()))


def _is_several(state: Any) -> bool:
    """Whether ranks are that one process."""
    from accelerate.utils import DistributedType

    return state.distributed_type == DistributedType.NO and torch.ops.weft.world_size() > 1


class _FirstOfOne:
    """accelerate's state for what its first process does for the others: of one process each rank does it."""

    def __init__(self, state: Any) -> None:
        self._state = state

    @property
    def process_index(self) -> int:
        return 0 if _is_several(self._state) else self._state.process_index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_state"], name)


def _install_dispatching(module: Any) -> None:
    """Batches of datasets without indices, which the first process reads and deals out."""
    cls = module.DataLoaderDispatcher
    init = cls.__init__

    @functools.wraps(init)
    def initialised(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.state = _FirstOfOne(self.state)

    cls.__init__ = initialised


def _install_waiting(module: Any) -> None:
    """That one process still is several where one waits for all, or where but one of them is to run a function."""
    cls = module.PartialState
    wait = cls.wait_for_everyone

    @functools.wraps(wait)
    def wait_for_everyone(self: Any) -> None:
        wait(self)
        if _is_several(self):
            torch.ops.weft.check_same([0], "accelerate's wait_for_everyone, which every rank calls alike", None)

    def on_one(original: Callable) -> Callable:
        @functools.wraps(original)
        def on(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.initialized or not _is_several(self):
                return original(self, *args, **kwargs)
            with replaced(cls, "use_distributed", True):
                return original(self, *args, **kwargs)

        return on

    cls.wait_for_everyone = wait_for_everyone
    for name in ("on_main_process", "on_local_main_process", "on_last_process", "on_process", "on_local_process"):
        setattr(cls, name, on_one(getattr(cls, name)))


def _install_operations(operations: Any) -> None:
    """Where accelerate still counts the ranks as processes, as before a model of it was laid out."""

    def with_sharded(original: Callable, of_sharded: Callable) -> Callable:
        @functools.wraps(original)
        def operation(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            def one(t: torch.Tensor) -> torch.Tensor:
                return of_sharded(t) if is_sharded(t) else original(t, *args, **kwargs)

            if not any(map(is_sharded, tensors_in(tensor))):
                return original(tensor, *args, **kwargs)
            return operations.recursively_apply(one, tensor, error_on_other_type=True)

        return operation

    for name, of_sharded in (("gather", lambda t: t), ("reduce", torch.clone)):
        original = getattr(operations, name)
        replace_everywhere(original, with_sharded(original, of_sharded), "accelerate")


def _install_saving(other: Any) -> None:
    """Tied are those tensors that share memory; every rank calls what writes, of which one does."""
    clean, save = other.clean_state_dict_for_safetensors, other.save

    @functools.wraps(clean)
    def clean_state_dict_for_safetensors(state_dict: dict[str, Any]) -> dict[str, Any]:
        kept = clean(stand_ins(state_dict))
        return {name: state_dict[name].contiguous() if is_sharded(state_dict[name]) else t for name, t in kept.items()}

    @functools.wraps(save)
    def save_once(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if not any(map(is_sharded, tensors_in(obj))):
            save(obj, f, *args, **kwargs)
            return
        with (
            replaced(other.PartialState, "is_main_process", True),
            replaced(other.PartialState, "is_local_main_process", True),
        ):
            save(obj, f, *args, **kwargs)

    replace_everywhere(clean, clean_state_dict_for_safetensors, "accelerate")
    replace_everywhere(save, save_once, "accelerate")


def _install_splitting(module: Any) -> None:
    """Which tensors go into which file, by their sizes and by who shares memory."""
    split = module.split_torch_state_dict_into_shards

    @functools.wraps(split)
    def split_torch_state_dict_into_shards(state_dict: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return split(stand_ins(state_dict), *args, **kwargs)

    replace_everywhere(split, split_torch_state_dict_into_shards)


def _install_preparing(module: Any) -> None:
    def preparing(original: Callable) -> Callable:
        @functools.wraps(original)
        def prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
            if any(map(holds_sharded, (*args, *kwargs.values()))):
                as_one_process()
            return original(self, *args, **kwargs)

        return prepare

    for name in ("prepare", "prepare_model"):
        setattr(module.Accelerator, name, preparing(getattr(module.Accelerator, name)))
