"""Sharded tensors as a compiler sees them: a Python type in which modes find the parts, and no other engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from .mesh import TensorLayout
from .tensors import is_sharded
from .traced_sizes import refuse_symbols

# Past modes, types and autograd, at Weft's kernel.
_ENGINE = torch._C.DispatchKey.PrivateUse3
_BELOW = torch._C.DispatchKeySet(_ENGINE)
_AUTOGRAD = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradPrivateUse3)
# kEngineKey of csrc/tensor/traced.h.
_OWN: Any = torch._C._parse_dispatch_key("TESTING_ONLY_GenericWrapper")
PART = "_weft_part"


def _call(op: Any, *args: Any) -> Any:
    # Above Python, so left out where Python is called.
    with torch._C._SetExcludeDispatchKeyGuard(_OWN, False):
        return op.default.redispatch(_BELOW, *args)


def _run(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    refuse_symbols(args, kwargs)
    # The one takes numbers for tensors, the other finds the kernels of ops that are made of others.
    # Without autograd the engine's own calls are known; their key is above Python, so left out where Python is called.
    with torch._C._ExcludeDispatchKeyGuard(_AUTOGRAD), torch._C._SetExcludeDispatchKeyGuard(_OWN, False):
        if torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "PrivateUse3"):
            return op._op_dk(_ENGINE, *args, **kwargs)
        return op.redispatch(_BELOW, *args, **kwargs)


class Laid(NamedTuple):
    """What a sharded tensor is beside its part. Plans go by whether it is a variable."""

    layout: TensorLayout
    path: str  # of the variable; empty: none


class Traced(torch.Tensor):
    """A sharded tensor whose part is fake or functional.

    Ops on it go to Weft's kernel, and the modes see what that runs on the parts. It exists while a compiler traces: the
    compiled program takes and returns sharded tensors as they always are.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return pytree.tree_map_only(torch.Tensor, as_traced, _run(func, args, kwargs or {}))

    def __tensor_flatten__(self) -> tuple[list[str], Laid]:
        return [PART], Laid(layout_of(self), path_of(self))

    @staticmethod
    def __tensor_unflatten__(
        parts: Mapping[str, torch.Tensor], laid: Laid, sizes: Sequence[int], strides: Sequence[int]
    ) -> torch.Tensor:
        """Where the part is real, a sharded tensor as programs have it."""
        if type(parts[PART]) is torch.Tensor:  # a compiled program's: no mode is about, and no door needed
            return torch.ops.weft._of_part.default.redispatch(_BELOW, parts[PART], laid.layout._id, sizes, strides)
        return named(as_traced(of_part(parts[PART], laid.layout, sizes, strides)), laid.path)

    def __coerce_tangent_metadata__(self) -> torch.Tensor:
        """The gradient of a pending sum is the same on every rank."""
        return as_traced(_call(torch.ops.weft._reduced, self))

    def _stable_hash_for_caching(self) -> str:
        """AOTAutograd's cache would keep programs whose layouts and meshes are this process's."""
        from torch._functorch._aot_autograd.autograd_cache import BypassAOTAutogradCache

        raise BypassAOTAutogradCache("sharded tensors are not in the cache's keys")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Traced({layout_of(self)}, {part_of(self)!r})"


def as_traced(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor of a fake or functional part as `Traced`, which shares its content; any other one itself."""
    if type(tensor) is Traced or not is_sharded(tensor):
        return tensor
    if not torch._C._dispatch_keys(part_of(tensor)).has(torch._C.DispatchKey.Python):
        return tensor
    traced = torch.Tensor._make_subclass(Traced, tensor)
    _call(torch.ops.weft._become_traced, traced)
    return traced


def named(tensor: torch.Tensor, path: str) -> torch.Tensor:
    """The same tensor, with that variable path where it is traced."""
    if path and type(tensor) is Traced:
        _call(torch.ops.weft.set_path, tensor, path)
    return tensor


def part_of(tensor: torch.Tensor) -> torch.Tensor:
    """The part itself, the same object each time; it raises AttributeError for a plain tensor."""
    if not is_sharded(tensor):
        raise AttributeError(f"a plain tensor has no {PART}")
    return _call(torch.ops.weft._shard, tensor)


def set_part(tensor: torch.Tensor, part: torch.Tensor) -> None:
    _call(torch.ops.weft._set_part, tensor, part)


def layout_of(tensor: torch.Tensor) -> TensorLayout:
    return TensorLayout._wrap(_call(torch.ops.weft.layout_of, tensor))


def path_of(tensor: torch.Tensor) -> str:
    return _call(torch.ops.weft.path_of, tensor)


def compiled_for(tensor: torch.Tensor) -> int:
    """A number of its layout in this process, and of the random mode; 0 for a plain tensor.

    Compiled programs ask for it in each call.
    """
    if type(tensor) is Traced:
        return _call(torch.ops.weft._compiled_for, tensor)
    return torch.ops.weft._compiled_for.default.redispatch(_BELOW, tensor) if is_sharded(tensor) else 0


def of_part(part: torch.Tensor, layout: TensorLayout, sizes: Sequence[int], strides: Sequence[int]) -> torch.Tensor:
    """A sharded tensor of that global shape from this rank's part. No collective, no autograd."""
    return _call(torch.ops.weft._of_part, part, layout._id, list(sizes), list(strides))


def laid_out(tensor: torch.Tensor, layout: TensorLayout) -> torch.Tensor:
    """Redistributed, without autograd."""
    return as_traced(_call(torch.ops.weft._laid_out, tensor, layout._id))


def view_steps(base: torch.Tensor, view: torch.Tensor) -> Any:
    """The view ops that lead from the one to the other, `of` another tensor; None: it is no view of it."""
    return _call(torch.ops.weft._view_steps, base, view)


def are_tied(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether a write to the one view must be carried to the other one, of the same root."""
    return _call(torch.ops.weft._are_tied, a, b)


def refuse_overlap(tensors: Sequence[torch.Tensor], written: Sequence[int]) -> None:
    """Raises NotImplementedError where a write to one of the `written` must be carried to another of these tensors."""
    _call(torch.ops.weft._refuse_overlap, list(tensors), list(written))


_kernels = torch.library.Library("weft", "IMPL")
_kernels.impl("_as_traced", as_traced, "PrivateUse3")
