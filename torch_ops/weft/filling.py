"""Variables made on the meta device, or emptied: given their values, and named where they are first used without."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from .arguments import needed
from .slots import Slot, slots_of
from .strings import shown
from .tensors import is_sharded

_SHOWN = 8  # paths in a message
# What tells whether a variable was written since it got memory in place of the meta device. It is an attribute,
# since what a weak reference looks at cannot be swapped (torch.utils.swap_tensors).
_WRITES = "_weft_writes"


def install() -> None:
    """What `to_empty` leaves of a sharded module is to be filled too."""
    cls: Any = torch.nn.Module
    original = cls.to_empty

    @functools.wraps(original)
    def to_empty(self: Any, *, device: Any, recurse: bool = True) -> Any:
        out = original(self, device=device, recurse=recurse)
        owners = [module for module in (self.modules() if recurse else (self,)) if any(map(is_sharded, _own(module)))]
        for variable in (v for owner in owners for v in _own(owner) if is_sharded(v) and not v.is_meta):
            note_unfilled(variable)
        if owners:
            fill(self, owners, lambda module: None)
        return out

    cls.to_empty = to_empty


def note_unfilled(variable: torch.Tensor) -> None:
    """It has just got memory that nothing has written."""
    setattr(variable, _WRITES, torch.ops.weft._writes_from_now(variable))


def unfilled(variable: torch.Tensor) -> bool:
    """Whether it was made on the meta device, or emptied, and nothing has given it a value since."""
    writes = getattr(variable, _WRITES, None)
    if writes is None:
        return False
    if is_sharded(variable) and writes == torch.ops.weft._writes(variable):
        return True
    delattr(variable, _WRITES)
    return False


def unfilled_paths(module: torch.nn.Module) -> list[str]:
    """The paths of a module's parameters and buffers that `distribute_module` has made from the meta device, or that
    `to_empty` has given other memory, and that nothing has written since: what they hold is no value.

        weft.distribute_module(model, layouts, param_init_fn=lambda m: None)
        model.load_state_dict(weights, strict=False)
        assert not weft.unfilled_paths(model)

    The first forward pass of a module that has such a variable raises a ValueError that names them.
    """
    needed(module, torch.nn.Module, "unfilled_paths: module")
    return [slot.path for slot in slots_of(module) if unfilled(slot.tensor)]


def refuse_unfilled(root: torch.nn.Module, owners: Iterable[torch.nn.Module]) -> None:
    """Makes `root`, and each of the `owners`, raise where it is called, until they are filled; their copies too."""
    for module in {id(m): m for m in (root, *owners)}.values():
        if not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_pre_hook(_refuse)


def _refuse(module: torch.nn.Module, inputs: Sequence[Any]) -> None:
    empty = unfilled_paths(module)
    if empty:
        raise ValueError(
            f"[W054] {type(module).__name__}: {len(empty)} variables were made on the meta device, or emptied, and "
            "nothing has filled them since: "
            f"{', '.join(map(shown, empty[:_SHOWN]))}{' and others' if len(empty) > _SHOWN else ''}; load them, or "
            "compute them (buffers that no checkpoint holds) as the module's own initialisation does"
        )
    for part in module.modules():
        hooks = part._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if hook is _refuse]:
            del hooks[key]


def owners_to_fill(module: Any, slots: list[Slot], init: Callable | None) -> list[torch.nn.Module]:
    """The submodules with variables on the meta device. Raises ValueError where one could not be initialised."""
    owners = {id(s.owner): s.owner for s in slots if s.tensor.is_meta}
    if init is None and not hasattr(module, "_init_weights"):
        without = [s.path for s in slots if s.tensor.is_meta and not hasattr(s.owner, "reset_parameters")]
        if without:
            raise ValueError(
                f"[W054] distribute_module: {', '.join(without)} on the meta device, whose modules have no "
                "reset_parameters(); pass param_init_fn (lambda m: None where a checkpoint is loaded afterwards)"
            )
    return list(owners.values())


def fill(root: Any, owners: list[torch.nn.Module], init: Callable | None) -> None:
    """Values for what the `owners` have made from the meta device: by `init`, else by the modules' own initialisers.
    What is left without a value is an error at the next forward pass."""
    with torch.no_grad():
        for owner in owners:
            _initialise(root, owner, init)
        _fill_buffers(root, owners)
    if any(unfilled(tensor) for owner in owners for tensor in _own(owner)):
        refuse_unfilled(root, owners)


def _own(owner: Any) -> Iterator[torch.Tensor]:
    yield from owner.parameters(recurse=False)
    yield from owner.buffers(recurse=False)


def _initialise(root: Any, owner: Any, init: Callable | None) -> None:
    if init is not None:
        init(owner)
    elif hasattr(owner, "reset_parameters"):
        owner.reset_parameters()
    else:
        root._init_weights(owner)


def _fill_buffers(root: Any, owners: list[torch.nn.Module]) -> None:
    """Buffers that no checkpoint holds, where `param_init_fn` left them: by their module's own initialiser."""
    for owner in owners:
        buffers = [owner._buffers[name] for name in getattr(owner, "_non_persistent_buffers_set", ())]
        if any(b is not None and unfilled(b) for b in buffers):
            if hasattr(owner, "reset_parameters") or hasattr(root, "_init_weights"):
                _initialise(root, owner, None)
