"""torch's own ways to distribute a module beside Weft's: DTensors both ways, and wrappers that would do it twice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from .after_import import after_import, replace_everywhere
from .mesh import DeviceMesh, adopt_world
from .tensors import is_dtensor, is_sharded, layout_of, local_tensor, shards_of

_torch_meshes: dict[tuple[DeviceMesh, Any], Any] = {}


def from_dtensor(dtensor: Any, mesh: DeviceMesh | None = None) -> torch.Tensor:
    """A DTensor as a sharded tensor, which shares its local memory.

    Args:
        dtensor: with placements Shard, Replicate and Partial.
        mesh: default: `DeviceMesh.from_torch(dtensor.device_mesh)`; another one must have the same ranks along as many
            axes.

    Raises:
        ValueError: no DTensor, a mesh of another shape or other ranks, or a placement that has no counterpart in a
            TensorLayout.
    """
    if not is_dtensor(dtensor):
        raise ValueError(f"[W038] from_dtensor: a DTensor is needed, got {type(dtensor).__name__}")
    mesh = mesh or DeviceMesh.from_torch(dtensor.device_mesh)
    return shards_of(dtensor.detach(), mesh, "from_dtensor").requires_grad_(dtensor.requires_grad)


def to_dtensor(tensor: torch.Tensor, device_mesh: Any = None) -> Any:
    """A sharded tensor as a DTensor, which shares its local memory.

    Args:
        device_mesh: torch's mesh of the same ranks; default: one made for the tensor's mesh, once, by all ranks.

    Raises:
        ValueError: a plain tensor, or a layout that DTensor has not (`TensorLayout.placements`).
    """
    from torch.distributed.tensor import DTensor

    layout = layout_of(tensor)
    placements = layout.placements()
    local = local_tensor(tensor.detach())
    made = device_mesh or _torch_mesh(layout.device_mesh)
    out = DTensor.from_local(
        local, made, placements, run_check=False, shape=tensor.shape, stride=tuple(tensor.stride())
    )
    return out.requires_grad_(tensor.requires_grad)


def _torch_mesh(mesh: DeviceMesh) -> Any:
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh as TorchMesh

    adopt_world()
    key = mesh, dist.group.WORLD
    if key not in _torch_meshes:
        ranks = torch.tensor(mesh.ranks).reshape(mesh.shape)
        _torch_meshes[key] = TorchMesh(mesh.device_type, ranks, mesh_dim_names=mesh.axis_names)
    return _torch_meshes[key]


_BATCH = "split the batch over a mesh axis instead (weft.shard_batch): gradients are reduced as backward runs"
_ANEW = "lay it out anew instead: weft.distribute_module(model, weft.layouts.fsdp(…) | weft.layouts.megatron(…))"
_WRAPPERS = {  # module -> classes and functions of it that take a module
    "torch.nn.parallel.distributed": {"DistributedDataParallel": _BATCH},
    "torch.distributed.fsdp": {"FullyShardedDataParallel": _BATCH, "fully_shard": _ANEW},
    "torch.distributed.tensor.parallel": {"parallelize_module": _ANEW},
}


def install() -> None:
    """Puts the refusals into torch's modules, now or once they are imported."""
    for name, wrappers in _WRAPPERS.items():
        after_import(name, functools.partial(_refuse, wrappers))


def _refuse(wrappers: dict[str, str], module: Any) -> None:
    for name, instead in wrappers.items():
        wrapper: Any = getattr(module, name)
        if isinstance(wrapper, type):
            type.__setattr__(wrapper, "__init__", _refusing(vars(wrapper)["__init__"], name, instead, at=1))
        else:
            replace_everywhere(wrapper, _refusing(wrapper, name, instead), "torch.distributed")


def _refusing(function: Callable, name: str, instead: str, at: int = 0) -> Callable:
    """Raises a ValueError, before anything is changed, where the module is a sharded one."""

    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        module = kwargs.get("module", args[at] if len(args) > at else None)
        for one in module if isinstance(module, (list, tuple)) else [module]:
            found = one.named_parameters() if isinstance(one, torch.nn.Module) else ()
            path = next((path for path, p in found if is_sharded(p)), None)
            if path is not None:
                raise ValueError(f"[W053] {name}: the module is sharded already ({path}); {instead}")
        return function(*args, **kwargs)

    return refusing
