"""torchmetrics adds up what the ranks have counted. Of sharded tensors every rank counts all: a metric that has
seen them is one process's, whose world is itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from . import first_rank
from .after_import import after_import
from .mesh import DeviceMesh
from .tensors import distribute_tensor, is_sharded, layout_of


def _mesh_of(values: Any) -> DeviceMesh | None:
    return next((layout_of(x).device_mesh for x in tree_leaves(values) if is_sharded(x)), None)


def _states(metric: Any) -> list[Any]:
    return [getattr(metric, name) for name in metric._defaults]


def _lay_out_states(metric: Any, mesh: DeviceMesh) -> None:
    """A state that was added to in place, or is a mere count, is plain yet: it too counts all ranks' values."""

    def laid_out(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or is_sharded(x):
            return x
        return distribute_tensor(x, (None,) * x.dim(), mesh)

    for name, state in zip(metric._defaults, _states(metric), strict=True):
        setattr(metric, name, type(state)(map(laid_out, state)) if isinstance(state, list) else laid_out(state))


def _mend(module: ModuleType) -> None:
    cls = module.Metric
    if not hasattr(cls, "_wrap_update") or not hasattr(cls, "sync"):
        first_rank.warn(
            "[W143] weft does not know this torchmetrics: what its metrics count of sharded tensors would be added up "
            "over the ranks; pass them sync_on_compute=False",
            stacklevel=2,
        )
        return
    wrap_update, sync = cls._wrap_update, cls.sync

    @functools.wraps(wrap_update)
    def wrap(self: Any, update: Callable) -> Callable:
        plain_update = wrap_update(self, update)

        @functools.wraps(plain_update)
        def updated(*args: Any, **kwargs: Any) -> Any:
            result = plain_update(*args, **kwargs)
            mesh = _mesh_of((args, kwargs)) or _mesh_of(_states(self))
            if mesh is not None:
                _lay_out_states(self, mesh)
            return result

        return updated

    @functools.wraps(sync)
    def synced(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _mesh_of(_states(self)) is None:
            return sync(self, *args, **kwargs)
        names = ("dist_sync_fn", "process_group", "should_sync", "distributed_available")
        given = dict(zip(names, args, strict=False)) | kwargs
        return sync(self, **given | {"distributed_available": lambda: False})

    cls._wrap_update, cls.sync = wrap, synced


def install() -> None:
    """Now, or once torchmetrics is imported."""
    after_import("torchmetrics.metric", _mend)
