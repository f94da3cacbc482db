"""How sharded tensors print, and what they say where torch shares memory that no single process has."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch

from . import _library, readers  # noqa: F401
from .filling import note_unfilled, unfilled
from .known_to_dynamo import left_alone

_WAY_OUT = (
    "a sharded tensor has no memory of its own. weft.full_tensor(x) gives the whole value as a plain tensor (a "
    "collective: call it on every rank), weft.local_tensor(x) this rank's part"
)
# What each name is for the user who called it.
_MESSAGES = {
    "data_ptr": "data_ptr(): " + _WAY_OUT,
    "const_data_ptr": "const_data_ptr(): " + _WAY_OUT,
    "__reduce_ex__": "pickle and copy.copy: "
    + _WAY_OUT
    + ". To save it: weft.save(folder, model, optimizer) and weft.load, or torch.save, which every rank calls",
    "untyped_storage": "storage(), share_memory_(), queues and torch.export: "
    + _WAY_OUT
    + ". For a checkpoint: weft.save(folder, model), torch.save or safetensors; torch.export records no sharded "
    "tensors",
}


def _describe(tensor: torch.Tensor) -> str:
    """Shape, layout and this rank's values; no collective, so that one rank alone may print.

    Of a pending reduction no values: this rank's part of a sum looks like the sum and is none.
    """
    layout = torch.ops.weft.layout_of(tensor)
    mesh, partial = layout.mesh(), layout.partial()
    facts = [torch.ops.weft.type_str(tensor), str(mesh.__str__())]
    path = torch.ops.weft.path_of(tensor)
    if path:
        facts.append(f"path={path!r}")
    values, is_here = "", torch.ops.weft._is_here(tensor)
    if not partial and is_here:
        with torch.no_grad():
            local = torch.ops.weft.local_tensor(tensor.detach())
        values = torch._tensor_str._str(local)
    if tensor.grad_fn is not None:
        facts.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        facts.append("requires_grad=True")
    if partial:
        pending = ", ".join(f"{kind} over {axis}" for axis, kind in partial.items())
        return f"pending {pending}\n  ({', '.join(facts)}; weft.full_tensor(x), on every rank, gives the value)"
    if not is_here:
        return f"sharded, its values on their way\n  ({', '.join(facts)}; they are here once read)"
    if any(layout.axes()):
        simulated = layout.mesh().simulated_rank()
        rank = torch.ops.weft.rank() if simulated < 0 else simulated
        held = f"rank {rank}'s part, of shape {tuple(local.shape)}"
    else:
        held = "the whole value"
    return f"sharded {values}\n  ({', '.join(facts)}; shown is {held})"


def _guard(cls: type, name: str) -> None:
    """Calls the original; where it fails on a sharded tensor, says what to do instead. Plain tensors pay nothing."""
    original = getattr(cls, name)
    message = _MESSAGES[name]

    @left_alone
    @functools.wraps(original)
    def guarded(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except Exception:
            if not torch.ops.weft.is_sharded(self):
                raise
        raise NotImplementedError(f"[W060] weft: {message}")

    setattr(cls, name, guarded)


def _copied(tensor: torch.Tensor, memo: dict) -> torch.Tensor:
    """The value in memory of its own, as torch's: parameters alone, others together with what shares theirs."""
    with torch.no_grad():
        if isinstance(tensor, torch.nn.Parameter):
            new = tensor.detach().clone()
        else:
            shared = ("weft", torch.ops.weft._memory(tensor))
            root = memo.get(shared)
            if root is None:
                memo[shared] = root = torch.ops.weft._root_of(tensor).clone()
            new = torch.ops.weft._view_again(root, tensor)
        path = torch.ops.weft.path_of(tensor)
        if path:
            torch.ops.weft.set_path(new, path)
        return new


def _guard_deepcopy(cls: Any) -> None:
    original = cls.__deepcopy__

    @left_alone
    @functools.wraps(original)
    def deepcopied(self: torch.Tensor, memo: dict) -> Any:
        if id(self) in memo or not torch.ops.weft.is_sharded(self) or not self.is_leaf:
            return original(self, memo)
        new = _copied(self, memo)
        if isinstance(self, torch.nn.Parameter):
            # Torch's own takes the value, too, neither gradient nor attributes.
            new = type(self)(new, self.requires_grad)
        else:
            new.requires_grad_(self.requires_grad)
            if self.grad is not None:
                new.grad = copy.deepcopy(self.grad, memo)
            new.__dict__ = copy.deepcopy(self.__dict__, memo)
        if unfilled(self):
            note_unfilled(new)
        memo[id(self)] = new
        return new

    cls.__deepcopy__ = deepcopied


def install() -> None:
    """Hooks printing, deepcopy and the messages, and what reads values, into torch.Tensor, once."""
    if getattr(torch.Tensor, "_weft_display", False):
        return
    plain_str = torch._tensor_str._str

    @functools.wraps(plain_str)
    def tensor_str(self: torch.Tensor, *, tensor_contents: Any = None) -> str:
        if isinstance(self, torch.Tensor) and torch.ops.weft.is_sharded(self):
            return _describe(self)
        return plain_str(self, tensor_contents=tensor_contents)

    torch._tensor_str._str = tensor_str
    for name in _MESSAGES:
        if hasattr(torch.Tensor, name):  # not every torch has each
            _guard(torch.Tensor, name)
    _guard(torch.nn.Parameter, "__reduce_ex__")
    for cls in (torch.Tensor, torch.nn.Parameter):
        _guard_deepcopy(cls)
    readers.install()
    tensor_class: Any = torch.Tensor
    tensor_class._weft_display = True
