"""What only looks at values - numpy, tolist, dlpack - gets the whole value of a sharded tensor, as item() does.

Core's own methods read memory, which a sharded tensor has none of. They are called on a copy of the whole value: a
collective, so every rank calls them. What they return is a snapshot: it shares no memory with the tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from .known_to_dynamo import left_alone
from .tensors import is_sharded, layout_of


def full_copy(x: torch.Tensor) -> torch.Tensor:
    """The whole value in memory of its own, with all that core's conditions ask for: grad, conjugate, negative.

    Raises:
        NotImplementedError: the mesh is simulated.
    """
    mesh = layout_of(x.detach()).device_mesh
    if mesh.simulated_rank is not None:
        raise NotImplementedError(
            f"[W073] a tensor's values are asked for, and over {mesh}, which is simulated, tensors have shapes alone"
        )
    with torch.no_grad():
        value = torch.ops.weft.full_tensor(x.detach())
        if x.is_sparse:
            return value
        value = value.resolve_conj().resolve_neg()
        local = torch.ops.weft.local_tensor(x.detach())
        if value.untyped_storage().data_ptr() == local.untyped_storage().data_ptr():
            value = value.clone()
        if x.is_conj():
            value = value.conj_physical().conj()
        if x.is_neg():
            value = torch._neg_view(value.neg())
    return value.requires_grad_() if x.requires_grad else value


def _with_weft(core: Callable, instead: Callable) -> Callable:
    """Core's own where it can, so that plain tensors pay nothing; of a sharded one it raises, before it has read or
    written anything, that this has no memory, or what it raises of the whole value too."""

    @left_alone
    @functools.wraps(core)
    def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            return core(self, *args, **kwargs)
        except Exception:
            if not any(map(is_sharded, (self, *args))):
                raise
        return instead(core, self, *args, **kwargs)

    return call


def _read(core: Callable, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    return core(full_copy(x), *args, **kwargs)


def _read_array(core: Callable, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """Read-only: what is written to it would reach neither the tensor nor the other ranks."""
    array = core(full_copy(x), *args, **kwargs)
    array.flags.writeable = False
    return array


def _export(core: Callable, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    if kwargs.get("copy") is False:
        raise BufferError(
            "[W060] weft: dlpack with copy=False: a sharded tensor has no memory of its own to share. Leave copy out "
            "for a copy of the whole value, or export weft.local_tensor(x), which shares this rank's part"
        )
    return core(full_copy(x), *args, **kwargs)


def _write(core: Callable, x: torch.Tensor, *args: Any) -> torch.Tensor:
    """A Python function for each element: of the whole value, on every rank, which is then written back."""
    plain = [full_copy(a) if is_sharded(a) else a for a in (x, *args)]
    core(*plain)
    return x.copy_(plain[0]) if is_sharded(x) else x


def _make(core: Callable, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Core asks the dispatch key for the new tensor's device, which ours has not; the tensor itself knows it."""
    return core(torch.empty(0, dtype=x.dtype, device=x.device, layout=x.layout), *args, **kwargs)


_INSTEAD = {
    "numpy": _read_array,
    "tolist": _read,
    "__dlpack__": _export,
    "apply_": _write,
    "map_": _write,
    "map2_": _write,
    "new": _make,
    "new_tensor": _make,
}


def install() -> None:
    """Puts them in place of core's own, once."""
    for name, instead in _INSTEAD.items():
        setattr(torch.Tensor, name, _with_weft(getattr(torch.Tensor, name), instead))
    modules: tuple[Any, ...] = (torch, torch.utils.dlpack)
    for module in modules:
        if hasattr(module, "to_dlpack"):
            module.to_dlpack = _with_weft(module.to_dlpack, _export)
