"""Weft: unchanged torch code on sharded tensors.

A plugin of PyTorch's C++ dispatcher. A tensor is laid out over a mesh of processes once, by its variable path or by
hand; every op on it then runs on the local shards, with the collectives it needs.

    import torch, weft
    weft.initialize()                                       # under torchrun; else a world of one process
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    layouts = weft.LayoutMap(mesh)
    layouts[r"layers/.*/(q|k|v)_proj/weight"] = ("model", None)
    weft.distribute_module(model, layouts)                  # in place; the model's code stays as it is
    loss = model(**weft.shard_batch(batch, mesh, "data")).loss
    loss.backward()
"""

from ._library import library_path, torch_version_built_for
from .api import (
    DeviceMesh,
    LayoutMap,
    TensorLayout,
    distribute_module,
    distribute_tensor,
    from_local,
    full_tensor,
    get_device_count,
    initialize,
    is_sharded,
    layout_of,
    list_devices,
    local_tensor,
    path_of,
    random_mode,
    rank,
    register_layouts,
    report,
    strict,
    tag,
    trace,
    world_size,
)
from .display import install_repr

install_repr()

__version__ = "0.1.0"

__all__ = [
    "DeviceMesh",
    "LayoutMap",
    "TensorLayout",
    "distribute_module",
    "distribute_tensor",
    "from_local",
    "full_tensor",
    "get_device_count",
    "initialize",
    "is_sharded",
    "layout_of",
    "library_path",
    "list_devices",
    "local_tensor",
    "path_of",
    "random_mode",
    "rank",
    "register_layouts",
    "report",
    "strict",
    "tag",
    "torch_version_built_for",
    "trace",
    "world_size",
]
