"""transformers' Trainer with a sharded model: all ranks together are its one process, of which rank 0 writes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch

from ..after_import import after_import
from ..in_step import agree
from ..mesh import DeviceMesh
from ..tensors import full_tensor, is_sharded, layout_of, shard_batch
from .one_process import as_one_process, holds_sharded

_BATCH_AXIS = "data"


def install() -> None:
    """Puts it into transformers, now or once its Trainer is imported."""
    after_import("transformers.trainer", _install)


def _mesh_of(trainer: Any) -> DeviceMesh | None:
    """The mesh of the trainer's model; None: it is a plain one."""
    model = getattr(trainer, "model", None)
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else ()
    return next((layout_of(p).device_mesh for p in parameters if is_sharded(p)), None)


def _install(module: Any) -> None:
    cls = module.Trainer
    _install_init(cls)
    _install_inputs(cls)
    _install_saving(cls)


def _wrap(cls: type, name: str) -> Callable:
    """Decorates what runs in a method's place, given the original first, where the trainer's model is sharded."""

    def decorate(function: Callable) -> Callable:
        original = getattr(cls, name)

        @functools.wraps(original)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            if _mesh_of(self) is None:
                return original(self, *args, **kwargs)
            return function(original, self, *args, **kwargs)

        setattr(cls, name, wrapped)
        return function

    return decorate


def _install_init(cls: Any) -> None:
    init = cls.__init__

    @functools.wraps(init)
    def initialised(self: Any, model: Any = None, args: Any = None, *more: Any, **kwargs: Any) -> None:
        if holds_sharded(model):
            if args is not None:
                _ = args.device  # accelerate's state is made here
            as_one_process()
        init(self, model, args, *more, **kwargs)

    cls.__init__ = initialised


def _install_inputs(cls: type) -> None:
    for name in ("train", "evaluate", "predict"):

        @_wrap(cls, name)
        def _(original: Callable, self: Any, *args: Any, **kwargs: Any) -> Any:
            as_one_process()  # the model may have been laid out since
            return original(self, *args, **kwargs)

    @_wrap(cls, "_prepare_inputs")
    def _(original: Callable, self: Any, inputs: Any) -> Any:
        mesh, inputs = _mesh_of(self), original(self, inputs)
        return inputs if mesh is None or _BATCH_AXIS not in mesh.axis_names else shard_batch(inputs, mesh, _BATCH_AXIS)


def _install_saving(cls: type) -> None:
    @_wrap(cls, "_save")
    def _(original: Callable, self: Any, output_dir: Any = None, state_dict: Any = None) -> None:
        folder = output_dir if output_dir is not None else self.args.output_dir

        def make_folder() -> None:
            if self.args.should_save:
                os.makedirs(folder, exist_ok=True)

        def save() -> None:
            if self.args.should_save:
                original(self, output_dir, state_dict)
            else:
                _take_part(self.model, folder, state_dict)

        _together("making the folder", make_folder)  # which fails before the others send anything

        _together("saving the model", save)  # rank 0 goes on to write the tokenizer, which others may want to read

    @_wrap(cls, "_save_checkpoint")
    def _(original: Callable, self: Any, *args: Any, **kwargs: Any) -> None:
        _together("saving a checkpoint", lambda: original(self, *args, **kwargs))  # its last files are rank 0's

    @_wrap(cls, "_save_optimizer_and_scheduler")
    def _(original: Callable, self: Any, output_dir: Any) -> None:
        _by_rank_0(
            "saving the optimizer",
            full_state(self.optimizer, keep=self.args.should_save),
            lambda state: _with_state(self.optimizer, state, lambda: original(self, output_dir)),
        )

    @_wrap(cls, "_save_rng_state")
    def _(original: Callable, self: Any, output_dir: Any) -> None:
        _by_rank_0("saving the random state", None, lambda _: original(self, output_dir))


def _take_part(model: Any, folder: str, state: Any) -> None:
    """What the other ranks do while rank 0 saves a model: of a module that is none of transformers' its state."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder, state_dict=state, is_main_process=False)
        return
    from safetensors.torch import save_file

    save_file(model.state_dict() if state is None else state, os.path.join(folder, "model.safetensors"))


def _by_rank_0(what: str, value: Any, write: Callable[[Any], None]) -> None:
    """The file that rank 0 writes is there for all afterwards, or all raise its error."""
    _together(what, lambda: write(value) if torch.ops.weft.rank() == 0 else None)


def _together(what: str, action: Callable[[], None]) -> None:
    """No rank goes on before all have done it; an error of one is raised on all."""
    error = None
    try:
        action()
    except Exception as e:
        error = e
    agree(what, error)


def _with_state(optimizer: Any, state: dict, action: Callable[[], None]) -> None:
    """`action`, to which the optimizer tells that state."""
    optimizer.state_dict = lambda: state
    try:
        action()
    finally:
        del optimizer.state_dict


def full_state(optimizer: Any, keep: bool = True) -> Any:
    """The optimizer's state dict with full tensors, on the ranks that `keep` it. A collective."""

    def full(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: full(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return type(x)(map(full, x))
        if not is_sharded(x):
            return x
        value = full_tensor(x.detach())
        return value.cpu() if keep else None

    return full(optimizer.state_dict())
