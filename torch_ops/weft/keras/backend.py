"""keras.src.backend.distribution_lib for torch: the functions that Keras asks of a backend."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

import torch

import weft
from weft import first_rank
from weft.process import initialize as initialize_processes

from . import random_state, versions
from .hooks import rebind

num_processes = weft.world_size
process_id = weft.rank


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of all processes, one each: ["cpu:0", "cpu:1", ...].

    Args:
        device_type: "cpu", "gpu" or "tpu"; default: the one that Keras runs on. Of an absent one the list is empty.

    Raises:
        ValueError: another type.
    """
    if device_type is None:
        device_type = "gpu" if versions.find().core.get_device().startswith("cuda") else "cpu"
    return weft.list_devices(device_type)


def get_device_count(device_type: str | None = None) -> int:
    """How many `list_devices` lists."""
    return len(list_devices(device_type))


def initialize(
    job_addresses: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to its job, as weft.initialize does; every rank then has rank 0's random state, Keras's own
    included."""
    initialize_processes(job_addresses, num_processes, process_id)
    random_state.synchronize()


def distribute_tensor(tensor: Any, layout: Any) -> Any:
    """The tensor in a layout: a plain one is sharded, a sharded one redistributed, a symbolic one passes through.

    Args:
        tensor: a torch tensor, anything that Keras turns into one, or a nesting of them.
        layout: a keras.distribution.TensorLayout or a weft.TensorLayout; None: nothing happens.

    Raises:
        ValueError: the layout names another number of dimensions, an axis twice, or one that is unknown.
    """
    from keras import KerasTensor, tree

    if layout is None or isinstance(tensor, KerasTensor):
        return tensor
    if isinstance(tensor, (list, tuple, dict)):
        return tree.map_structure(lambda t: distribute_tensor(t, layout), tensor)
    tensor = as_tensor(tensor)
    return tensor if tensor.is_meta else weft.distribute_tensor(tensor, weft_layout(layout))


def distribute_variable(value: Any, layout: Any) -> torch.Tensor:
    """A variable's value in that layout, as a leaf that requires grad as `value` does."""
    value = as_tensor(value)
    return value if layout is None else weft.distribute_variable(value, weft_layout(layout))


def as_tensor(value: Any) -> torch.Tensor:
    import keras

    return value if isinstance(value, torch.Tensor) else keras.ops.convert_to_tensor(value)


def weft_layout(layout: Any) -> weft.TensorLayout:
    return layout if isinstance(layout, weft.TensorLayout) else layout.backend_layout


def _to_backend_mesh(device_mesh: Any) -> weft.DeviceMesh:
    """Keras's mesh as Weft's. Keras keeps it, and Weft's are interned: equal meshes give the same one.

    Raises:
        ValueError: devices of several types, or of one that torch does not have; one that is there twice.
    """
    devices = [str(d).lower() for d in device_mesh.devices.flatten()]
    kinds = list(dict.fromkeys(d.split(":")[0] for d in devices if ":" in d))
    if len(kinds) > 1:
        raise ValueError(f"[W022] {device_mesh}: its devices are of several types: {', '.join(kinds)}")
    kind = kinds[0] if kinds else None
    return weft.DeviceMesh(
        tuple(device_mesh.shape), tuple(device_mesh.axis_names), devices, "cuda" if kind == "gpu" else kind
    )


def _to_backend_layout(tensor_layout: Any) -> weft.TensorLayout:
    """Keras's layout as Weft's. An entry may be a list or tuple of axes, which split that dimension together.

    Raises:
        ValueError: no mesh, an unknown axis, an axis used twice.
    """
    if tensor_layout.device_mesh is None:
        raise ValueError(
            f"[W030] Cannot create sharding when device mesh is not set for TensorLayout(axes={tensor_layout.axes})"
        )
    return _interned(tensor_layout.axes, tensor_layout.device_mesh.backend_mesh)


# Keras makes a new layout for each batch and output.
@functools.lru_cache(maxsize=4096)
def _interned(axes: tuple, mesh: weft.DeviceMesh) -> weft.TensorLayout:
    return weft.TensorLayout(axes, mesh)


def install(keras: versions.Keras) -> None:
    keras_backend: Any = importlib.import_module("keras.src.backend")
    lib: Any = keras.distribution
    keras_backend.distribution_lib = lib.distribution_lib = sys.modules[__name__]
    _check_initialize(lib)
    original = lib.set_distribution

    def set_distribution(value: Any) -> None:
        if value is not None:
            random_state.synchronize_once()
        original(value)

    set_distribution.__doc__ = original.__doc__
    rebind(original, set_distribution)
    _tell_of_clear_session(lib)


def _tell_of_clear_session(lib: ModuleType) -> None:
    """Keras's clear_session drops the distribution with everything else that is global."""
    from keras.src.backend.common import global_state

    original, told = global_state.clear_session, False

    @functools.wraps(original)
    def clear_session(free_memory: bool = True) -> None:
        nonlocal told
        distribution = lib.distribution()
        original(free_memory)
        if distribution is not None and not told:
            told = True
            first_rank.warn(
                f"[W132] keras.utils.clear_session() has dropped the {type(distribution).__name__} distribution: what "
                "is made and trained from here on is not distributed. Call keras.distribution.set_distribution again "
                "after it",
                stacklevel=2,
            )

    rebind(original, clear_session)


def _check_initialize(lib: ModuleType) -> None:
    """Keras's front reads the environment without a word about what is wrong there."""
    original = lib.initialize

    def initialize(
        job_addresses: str | None = None, num_processes: int | None = None, process_id: int | None = None
    ) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            lib.distribution_lib.initialize(job_addresses, num_processes, process_id)
            return
        torch.ops.weft.rendezvous(job_addresses, num_processes, process_id)  # names what is wrong; opens nothing
        original(job_addresses, num_processes, process_id)

    initialize.__doc__ = original.__doc__
    rebind(original, initialize)
