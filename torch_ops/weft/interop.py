"""torch's own ways to distribute a module beside Weft's: DTensors both ways, and wrappers that would do it twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from .after_import import after_import, replace_everywhere
from .mesh import DeviceMesh, adopt_world
from .tensors import is_dtensor, is_sharded, layout_of, local_tensor, path_of, shards_of

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
_STATE = "an optimizer's state is split as the weights are: take the optimizer itself"
_WRAPPERS = {  # module -> classes and functions of it that take a module, or an optimizer's parameters
    "torch.nn.parallel.distributed": {"DistributedDataParallel": _BATCH},
    "torch.nn.parallel.data_parallel": {"DataParallel": _BATCH, "data_parallel": _BATCH},
    "torch.distributed.fsdp": {"FullyShardedDataParallel": _BATCH, "fully_shard": _ANEW},
    "torch.distributed.tensor.parallel": {"parallelize_module": _ANEW},
    "torch.distributed.optim.zero_redundancy_optimizer": {"ZeroRedundancyOptimizer": _STATE},
}


def install() -> None:
    """Puts the refusals into torch's modules, now or once they are imported; and what synchronizes on sharded tensors,
    which are whole already."""
    for name, wrappers in _WRAPPERS.items():
        after_import(name, functools.partial(_refuse, wrappers))
    after_import("torch.nn.modules.batchnorm", _see_whole_batch)


def _see_whole_batch(module: Any) -> None:
    """SyncBatchNorm of sharded tensors is a batch norm: its mean is that of the whole batch as it is."""
    synchronized = module.SyncBatchNorm.forward

    @functools.wraps(synchronized)
    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        held = (input, *self._parameters.values(), *self._buffers.values())
        if any(isinstance(t, torch.Tensor) and is_sharded(t) for t in held):
            return module._BatchNorm.forward(self, input)
        return synchronized(self, input)

    module.SyncBatchNorm.forward = forward


def _refuse(wrappers: dict[str, str], module: Any) -> None:
    for name, instead in wrappers.items():
        wrapper: Any = getattr(module, name)
        if isinstance(wrapper, type):
            type.__setattr__(wrapper, "__init__", _refusing(vars(wrapper)["__init__"], name, instead, at=1))
        else:
            package = ".".join(module.__name__.split(".")[:2])
            replace_everywhere(wrapper, _refusing(wrapper, name, instead), package)


def _refusing(function: Callable, name: str, instead: str, at: int = 0) -> Callable:
    """Raises a ValueError, before anything is changed, where the module or a parameter is a sharded one."""

    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if len(args) > at and isinstance(args[at], Iterator):  # of parameters, which can be gone through once
            args = (*args[:at], list(args[at]), *args[at + 1 :])
        elif isinstance(kwargs.get("params"), Iterator):
            kwargs["params"] = list(kwargs["params"])
        given = args[at] if len(args) > at else kwargs.get("module", kwargs.get("params"))
        path = next((path for path, p in _parameters_of(given) if is_sharded(p)), None)
        if path is not None:
            raise ValueError(f"[W053] {name}: the module is sharded already ({path}); {instead}")
        return function(*args, **kwargs)

    return refusing


def _parameters_of(given: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Of a module, several, parameters, or groups of them: each with its path."""
    if isinstance(given, torch.nn.Module):
        yield from given.named_parameters()
    elif isinstance(given, torch.Tensor):
        yield path_of(given) or "a parameter", given
    elif isinstance(given, Mapping):
        yield from _parameters_of(given.get("params"))
    elif isinstance(given, (list, tuple)):
        for one in given:
            yield from _parameters_of(one)
