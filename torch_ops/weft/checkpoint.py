"""Checkpoints: a folder that all ranks save together, and that any mesh or layout, or one plain process, can load."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from types import NoneType
from typing import Any

import torch

from . import checkpoint_values as values
from .arguments import folder, needed
from .checkpoint_optimizer import Named
from .filling import unfilled
from .mesh import adopt_world
from .module import swap_impl
from .strings import listed, shown
from .tensors import differ

_MODEL, _OPTIMIZER, _EXTRA, _RANDOM = "model", "optimizer", "extra", "random"
# What all ranks agree on, as the library names it.
_WHAT = "save: what is saved (names, shapes, dtypes, layouts, values of plain tensors) and where"
_LOADED = "load: what is to be filled (names, layouts) and from where"

Model = torch.nn.Module | Mapping[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What came with a checkpoint beside the variables."""

    step: int | None
    extra: Any
    missing: list[str]  # names that were asked for and are not in it; with `strict` there are none
    unexpected: list[str]  # names that are in it and were not asked for


class PendingSave:
    """A save that goes on in the background.

    The host memory of its copy is kept as long as this object is, for the next save, which then blocks for less.
    """

    def __init__(self, pending: Any) -> None:
        self._pending = pending

    def done(self) -> bool:
        """Whether it has ended, well or not; of this rank alone."""
        return self._pending.done()

    def wait(self) -> None:
        """Waits until the save has ended.

        Raises:
            RuntimeError: what could not be written, the same on all ranks; the folder holds what it held before.
        """
        self._pending.wait()


def save(
    path: str | os.PathLike[str],
    model: Model | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    extra: Any = None,
    *,
    step: int | None = None,
) -> None:
    """Saves into a folder, whose parent exists; every rank calls it alike, and writes a part of its own.

    The folder holds safetensors files, `model.safetensors.index.json`, which Hugging Face's loaders read, and a
    manifest with checksums. It holds a whole checkpoint at any time: a save that fails or is killed leaves the one
    before. The states of torch's random generators are saved too.

    Args:
        model: a module (what its `state_dict()` has), or tensors by name; sharded or plain ones. Plain tensors are the
            same on all ranks.
        optimizer: its state and its parameter groups; its parameters go by their names in `model`.
        extra: dicts, lists and tuples of None, numbers, strings and tensors.
        step: any number that `load` gives back.

    Raises:
        ValueError: the ranks pass different things; a dtype that safetensors has not (complex128); an `extra` of other
            kinds; a folder with a model.safetensors of others.
        RuntimeError: what cannot be written, naming rank and file; another program is saving into the folder.

    Both are the same on all ranks, and the folder is as before.
    """
    _save(path, model, optimizer, extra, step, wait=True)


def async_save(
    path: str | os.PathLike[str],
    model: Model | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    extra: Any = None,
    *,
    step: int | None = None,
) -> PendingSave:
    """As `save`; returns when this rank's part is copied to host memory. The tensors may be changed from then on.

    A save that is still under way is waited for first, and the last one at the end of the program.

    Raises:
        ValueError: as `save`. What cannot be written is raised by `wait()` of what is returned.
    """
    return PendingSave(_save(path, model, optimizer, extra, step, wait=False))


def load(
    path: str | os.PathLike[str],
    model: Model | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    extra: Any = None,
    strict: bool = True,
    random_state: bool | None = None,
) -> Loaded:
    """Fills the variables, in the layouts that they have now, with what was saved, bit for bit.

    Variables of another dtype get what it converts to, as in `load_state_dict`, where that keeps its kind: a float32
    checkpoint loads into a bfloat16 model, but floats not into integers, nor numbers into booleans. Each rank reads its
    own part alone. Everything is checked before a variable is changed. A module's plain variables on the meta device
    get memory. Also loads a folder of Hugging Face's (model.safetensors, or an index), which has no checksums, as a
    model.

    Args:
        model: as saved: a module, or tensors by name.
        optimizer: of the parameters that it was saved with. Its state is laid out as the parameters are.
        extra: where the saved `extra` has tensors, the tensors here are filled, with the layouts that they have;
            without it they come whole, as plain tensors.
        strict: False: names that are missing or not asked for are told in the result.
        random_state: whether torch's random generators are set to where they were on rank 0. Default: where an
            optimizer is loaded.

    Raises:
        ValueError: naming all tensors that are missing, not asked for, of another shape or kind of dtype, or damaged;
            variables made on the meta device that neither the checkpoint nor an initialiser has filled; files that are
            not what the manifest says.
        RuntimeError: what cannot be read.

    Both are the same on all ranks, and no variable is changed.
    """
    adopt_world()
    found = torch.classes.weft.Checkpoint(folder(path, "load: path"))
    saved = json.loads(found.values())
    try:
        targets = _Targets()
        if model is not None:
            _add_model(targets, model, found, strict)
        named = Named(optimizer, model) if optimizer is not None else None
        state = _add_optimizer(targets, named, found, saved) if named is not None else {}
        extras = _extra_targets(targets, extra, found)
        wanted = random_state if random_state is not None else optimizer is not None
        random = _random_targets(targets, found) if wanted else {}
    except ValueError as error:
        differ(str(error), _LOADED)
        raise
    missing, unexpected = found.load(targets.groups, targets.names, targets.tensors, targets.has_value, strict)
    for variable, new in targets.on_meta:
        swap_impl(variable, new)
    if named is not None:
        named.restore(saved[_OPTIMIZER], state)
    if "cpu" in random:
        torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    told = values.decode(saved.get(_EXTRA), extras)
    return Loaded(found.step(), told, missing, unexpected)


def _save(path: Any, model: Any, optimizer: Any, extra: Any, step: int | None, wait: bool) -> Any:
    adopt_world()
    try:
        where = folder(path, "save: path")
        needed(step, (int, NoneType), "save: step")
        groups: dict[str, dict[str, torch.Tensor]] = {_MODEL: _tensors_of(model, "save") if model is not None else {}}
        saved = {}
        if optimizer is not None:
            saved[_OPTIMIZER], groups[_OPTIMIZER] = values.encode(Named(optimizer, model).values(), _OPTIMIZER)
        saved[_EXTRA], groups[_EXTRA] = values.encode(extra, _EXTRA)
        items = [(group, name, t) for group, tensors in groups.items() for name, t in tensors.items()]
        text = json.dumps(saved, ensure_ascii=False)
    except ValueError as error:
        differ(str(error), _WHAT)
        raise
    columns = [list(column) for column in zip(*items, strict=True)] or [[], [], []]
    return torch.ops.weft._save(where, *columns, text, step, wait)


def _tensors_of(model: Any, what: str) -> dict[str, torch.Tensor]:
    if not isinstance(model, (torch.nn.Module, Mapping)):
        kind = type(model).__name__
        raise ValueError(f"[W117] {what}: the model is of type {kind}; pass a module, or tensors by name")
    tensors = model.state_dict(keep_vars=True) if isinstance(model, torch.nn.Module) else dict(model)
    unnamed = [repr(name) for name in tensors if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f"[W117] {what}: {', '.join(unnamed)} among the model's names are no strings")
    wrong = [shown(str(name)) for name, t in tensors.items() if not isinstance(t, torch.Tensor)]
    if wrong:
        raise ValueError(f"[W117] {what}: {', '.join(wrong)} of the model is no tensor; pass such values as `extra`")
    return tensors


class _Targets:
    """What is to be filled: columns, as the library takes them."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.names: list[str] = []
        self.tensors: list[torch.Tensor] = []
        self.has_value: list[bool] = []
        self.on_meta: list[tuple[torch.Tensor, torch.Tensor]] = []  # variables, and what they become

    def add(self, group: str, name: str, tensor: torch.Tensor, has_value: bool) -> None:
        self.groups.append(group)
        self.names.append(name)
        self.tensors.append(tensor)
        self.has_value.append(has_value)


def _memory(like: torch.Tensor, requires_grad: bool = False) -> torch.Tensor:
    device = torch.get_default_device()
    device = torch.device("cpu") if device.type == "meta" else device
    return torch.empty_like(like, device=device, requires_grad=requires_grad)


def _add_model(targets: _Targets, model: Any, found: Any, strict: bool) -> None:
    tensors = _tensors_of(model, "load")
    made: dict[int, torch.Tensor] = {}
    for name, t in tensors.items():
        if not t.is_meta or torch.ops.weft.is_sharded(t):
            targets.add(_MODEL, name, t, not unfilled(t))
            continue
        if id(t) not in made:
            made[id(t)] = _memory(t, t.requires_grad)
            targets.on_meta.append((t, made[id(t)]))
        targets.add(_MODEL, name, made[id(t)], False)
    if isinstance(model, torch.nn.Module):
        _check_filled(model, tensors, set(found.tensors(_MODEL)[0]), strict)


def _check_filled(model: torch.nn.Module, tensors: dict[str, torch.Tensor], stored: set[str], strict: bool) -> None:
    """That each variable will have a value afterwards, and each that is filled belongs to the module."""
    variables = dict(model.named_parameters()) | dict(model.named_buffers())
    own = {id(t) for t in variables.values()}
    strangers = [name for name, t in tensors.items() if id(t) not in own]
    if strangers:
        raise ValueError(
            f"[W113] load: {listed(strangers)} of state_dict() are made by it and are no variables of the module: load "
            "into a dict of tensors, and give that to load_state_dict()"
        )
    filled = {id(t) for name, t in tensors.items() if strict or name in stored}
    empty = [name for name, t in variables.items() if id(t) not in filled and (t.is_meta or unfilled(t))]
    if empty:
        raise ValueError(
            f"[W054] load: {listed(empty)} were made on the meta device, are not in the checkpoint and have no value "
            "yet; compute them first (param_init_fn of distribute_module, or to_empty and the module's own initialiser)"
        )


def _add_optimizer(targets: _Targets, optimizer: Named, found: Any, saved: Any) -> dict[str, torch.Tensor]:
    if _OPTIMIZER not in saved:
        raise ValueError("[W111] load: the checkpoint holds no optimizer")
    optimizer.check(saved[_OPTIMIZER])
    names, likes, sharded = found.tensors(_OPTIMIZER)
    likes = {name: (like, was) for name, like, was in zip(names, likes, sharded, strict=True)}
    memory = optimizer.memory_for(saved[_OPTIMIZER], likes)
    for name, (tensor, has_value) in memory.items():
        targets.add(_OPTIMIZER, name, tensor, has_value)
    return {name: tensor for name, (tensor, _) in memory.items()}


def _extra_targets(targets: _Targets, extra: Any, found: Any) -> dict[str, torch.Tensor]:
    given = values.encode(extra, _EXTRA)[1]
    names, stored, _ = found.tensors(_EXTRA)
    tensors = {}
    for name, like in zip(names, stored, strict=True):
        tensors[name] = given[name] if name in given else _memory(like)
        targets.add(_EXTRA, name, tensors[name], name in given)
    strangers = [name for name in given if name not in tensors]
    if strangers:
        raise ValueError(f"[W111] load: the checkpoint has no tensors where `extra` has {listed(strangers)}")
    return tensors


def _random_targets(targets: _Targets, found: Any) -> dict[str, torch.Tensor]:
    names, likes, _ = found.tensors(_RANDOM)
    if not names:
        raise ValueError("[W111] load: there is no random state in it: pass random_state=False")
    states = {name: torch.empty_like(like, device="cpu") for name, like in zip(names, likes, strict=True)}
    for name, state in states.items():
        targets.add(_RANDOM, name, state, False)
    return states
