"""Where a module keeps its variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch


@dataclasses.dataclass
class Slot:
    """Where a module keeps a variable."""

    owner: Any
    name: str
    path: str
    tensor: torch.Tensor

    @property
    def scripted(self) -> bool:
        return isinstance(self.owner, torch.jit.ScriptModule)


def slots_of(module: torch.nn.Module) -> Iterator[Slot]:
    """All of them, a tied variable once for each place.

    Raises:
        ValueError: a lazy module that has not run.
    """
    for prefix, owner in module.named_modules(remove_duplicate=False):
        members = list(owner.named_parameters(recurse=False, remove_duplicate=False))
        members += list(owner.named_buffers(recurse=False, remove_duplicate=False))
        for name, tensor in members:
            path = f"{prefix}.{name}" if prefix else name
            if torch.nn.parameter.is_lazy(tensor):
                raise ValueError(f"[W050] distribute_module: {path} has no shape yet; run the lazy module once before")
            yield Slot(owner, name, path, tensor)


def holds_scripted(module: torch.nn.Module) -> bool:
    """Whether it, or a module in it, is scripted."""
    return any(isinstance(m, torch.jit.ScriptModule) for m in module.modules())


def module_type(owner: Any) -> str:
    """The type by which leaf names are translated: torch's own class that the module derives from, if any."""
    if isinstance(owner, torch.jit.ScriptModule):
        return owner.original_name
    name = type(owner).__name__
    for cls in type(owner).__mro__:
        if cls.__module__.startswith("torch.nn.") and cls is not torch.nn.Module:
            name = cls.__name__
            break
    if name in ("Conv1d", "Conv2d") and owner.groups > 1 and owner.groups == owner.in_channels:
        return "Depthwise" + name
    return name
