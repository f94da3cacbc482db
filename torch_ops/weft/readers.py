"""What only looks at values - numpy, tolist, dlpack - gets the whole value of a sharded tensor, as item() does.

Core's own methods read memory, which a sharded tensor has none of. They are called on a copy of the whole value: a
collective, so every rank calls them. What they return is a snapshot: it shares no memory with the tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from . import _library  # noqa: F401


def _is_sharded(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and torch.ops.weft.is_sharded(x)


def _whole(x: torch.Tensor) -> torch.Tensor:
    """The whole value in memory of its own, with all that core's conditions ask for: grad, conjugate, negative."""
    with torch.no_grad():
        whole = torch.ops.weft.full_tensor(x.detach()).resolve_conj().resolve_neg()
        local = torch.ops.weft.local_tensor(x.detach())
        if whole.untyped_storage().data_ptr() == local.untyped_storage().data_ptr():
            whole = whole.clone()
        if x.is_conj():
            whole = whole.conj_physical().conj()
        if x.is_neg():
            whole = torch._neg_view(whole.neg())
    return whole.requires_grad_() if x.requires_grad else whole


def _read_only(array: Any) -> Any:
    """Whoever writes to it is told so: what is written would reach neither the tensor nor the other ranks."""
    array.flags.writeable = False
    return array


def _reads_whole(original: Callable, finish: Callable[[Any], Any] = lambda result: result) -> Callable:
    """Tries core's first, so that plain tensors pay nothing; what it raises of a sharded one is that it has no memory,
    or what it raises of the whole too."""

    @functools.wraps(original)
    def read(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except Exception:
            if not _is_sharded(self):
                raise
        return finish(original(_whole(self), *args, **kwargs))

    return read


def _exports_whole(original: Callable) -> Callable:
    @functools.wraps(original)
    def export(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not _is_sharded(self):
            return original(self, *args, **kwargs)
        if kwargs.get("copy") is False:
            raise BufferError(
                "weft: dlpack with copy=False: a sharded tensor has no memory of its own to share. Leave copy out for "
                "a copy of the whole value, or export weft.local_tensor(x), which shares this rank's part"
            )
        return original(_whole(self), *args, **kwargs)

    return export


def _writes_whole(original: Callable) -> Callable:
    """A Python function for each element: of the whole value, the same on every rank, which is then written back."""

    @functools.wraps(original)
    def write(self: torch.Tensor, *args: Any) -> torch.Tensor:
        if not any(map(_is_sharded, (self, *args))):
            return original(self, *args)
        plain = [_whole(x) if _is_sharded(x) else x for x in (self, *args)]
        original(*plain)
        return self.copy_(plain[0]) if _is_sharded(self) else self

    return write


def _makes_plain(original: Callable) -> Callable:
    """Core asks the dispatch key for the new tensor's device, which ours has not; the tensor itself knows it."""

    @functools.wraps(original)
    def make(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        like = torch.empty(0, dtype=self.dtype, device=self.device) if _is_sharded(self) else self
        return original(like, *args, **kwargs)

    return make


def install() -> None:
    """Puts them in place of core's own, once."""
    cls = torch.Tensor
    cls.numpy = _reads_whole(cls.numpy, _read_only)
    cls.tolist = _reads_whole(cls.tolist)
    cls.__dlpack__ = _exports_whole(cls.__dlpack__)
    for module in (torch, torch.utils.dlpack):
        if hasattr(module, "to_dlpack"):
            module.to_dlpack = _exports_whole(module.to_dlpack)
    for name in ("apply_", "map_", "map2_"):
        setattr(cls, name, _writes_whole(getattr(cls, name)))
    for name in ("new", "new_tensor"):
        setattr(cls, name, _makes_plain(getattr(cls, name)))
