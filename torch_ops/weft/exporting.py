"""torch.export: refused for sharded tensors, before anything is traced."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .after_import import after_import
from .tensors import is_sharded


def install() -> None:
    """Hooks into torch.export, once."""
    after_import("torch.export._trace", _refuse)


def refused(name: str) -> NotImplementedError:
    """What is raised for that sharded tensor."""
    return NotImplementedError(
        f"[W067] weft: torch.export of sharded tensors is not there, and {name} is one; a program that is saved knows "
        "no processes. Export the model before it is distributed, or one of full tensors (weft.full_tensor)"
    )


def _refuse(trace: ModuleType) -> None:
    for name in ("_export", "_export_for_training"):
        original = getattr(trace, name, None)
        if original is not None and not hasattr(original, "_weft"):
            setattr(trace, name, _checking(original))


def _checking(export: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(export)
    def checked(mod: Any, args: Any, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        for name, tensor in _tensors(mod, args, kwargs):
            if is_sharded(tensor):
                raise refused(name)
        # What is found while it traces: core (2.11) then leaves a hook behind, which no buffer could pass any more.
        hooks = torch.nn.modules.module._global_buffer_registration_hooks
        known = set(hooks)
        try:
            return export(mod, args, kwargs, *rest, **options)
        except BaseException:
            for key in set(hooks) - known:
                del hooks[key]
            raise

    checked._weft = True  # type: ignore[attr-defined]
    return checked


def _tensors(mod: Any, args: Any, kwargs: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(mod, torch.nn.Module):
        yield from mod.named_parameters()
        yield from mod.named_buffers()
    for path, leaf in pytree.tree_flatten_with_path((args, kwargs or {}))[0]:
        if isinstance(leaf, torch.Tensor):
            yield "the input " + pytree.keystr(path[1:]), leaf
