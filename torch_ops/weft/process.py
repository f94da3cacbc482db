"""Processes and devices: Keras's signatures on torch.distributed."""

from __future__ import annotations

import datetime
import multiprocessing
import os
from typing import Any

import torch

from . import _library  # noqa: F401
from .mesh import adopt_world
from .strings import checked, shown
from .tensors import differ


def initialize(
    job_addresses: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    backend: str | None = None,
    timeout: float | datetime.timedelta | None = None,
    first_timeout: float | datetime.timedelta | None = None,
) -> None:
    """Joins this process to its job and makes the seed the same on all ranks. Call it once, before the model is built.

    A process group that torch.distributed has already is taken as it is; else one is made: NCCL for tensors on GPUs,
    each process on the GPU of its local rank, where every process of this machine can have one; Gloo for the rest. With
    nothing given and nothing set, the process is a world of its own. Every rank then has rank 0's random state.

    Args:
        job_addresses: "host:port" of process 0, or of each process with commas between.
        num_processes: how many there are.
        process_id: which one this is, from 0.
        timeout: how long a collective may take before the ranks raise: seconds, or a timedelta, 1 ms to 24 days;
            where it was never given as long as the group waits, which is 30 minutes for one that is made here.
        first_timeout: the same for what precedes the end of the world's first collective, as ranks compile and load
            for different times.
        backend: of `torch.distributed.init_process_group`, where the choice above is not what you want.

    What is not given comes from KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
    KERAS_DISTRIBUTION_PROCESS_ID, else from torchrun's MASTER_ADDR, MASTER_PORT, WORLD_SIZE and RANK. The backends
    know one time-out, the longer of the two; so does a group that is there, for all that goes over it, where one is
    given.

    Raises:
        ValueError: before any connection is made: some are set and others not, a value makes no sense (a time-out
            too), or the group that is there is another one. The message names it.
        RuntimeError: multiprocessing is starting this process for a rank and imports the program's main file again.
    """
    import torch.distributed as dist

    if job_addresses is not None:
        checked(job_addresses, "initialize: job_addresses")
    what = "initialize: whether the arguments fit the group that is there"
    if dist.is_available() and dist.is_initialized():
        try:
            _check_group(num_processes, process_id)
            adopt_world()
            _set_timeouts(timeout, first_timeout)
        except ValueError:
            adopt_world()
            differ("they do not", what)  # the error itself tells each rank's number
            raise
    else:
        _set_timeouts(timeout, first_timeout)
        host, port, rank, world_size, prefix = torch.ops.weft.rendezvous(job_addresses, num_processes, process_id)
        if world_size > 1:
            _check_not_a_helper()
            if not dist.is_available():
                torch.ops.weft.initialize(job_addresses, num_processes, process_id)
                return
            use = backend or _choose_backend(rank, world_size)
            address: dict[str, Any] = {"init_method": f"tcp://{_bracketed(host)}:{port}"}
            if prefix:  # torchrun's store outlives a restart: each attempt has keys of its own
                store = dist.TCPStore(host, port, world_size, is_master=False)
                address = {"store": dist.PrefixStore(prefix, store)}
            if backend is None and use != "gloo":
                # So NCCL connects now: a world that has not done so is not safe to split, as meshes of several axes do.
                address["device_id"] = torch.device("cuda", torch.cuda.current_device())
            if timeout is not None or first_timeout is not None:
                own = dist.constants.default_pg_timeout.total_seconds()
                address["timeout"] = datetime.timedelta(seconds=max(t or own for t in torch.ops.weft.timeouts()))
            dist.init_process_group(use, rank=rank, world_size=world_size, **address)
    adopt_world()
    torch.ops.weft.check_same([], what)
    same_random_state()


def _check_not_a_helper() -> None:
    """It would wait for ever as one more rank. While the main file is imported core marks the process so."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "[W004] initialize: multiprocessing ('spawn', 'forkserver') is starting this process for a rank and "
            "imports the program's main file again, which must not join the world: put weft.initialize() and what "
            'follows under `if __name__ == "__main__":`'
        )


def _set_timeouts(timeout: Any, first_timeout: Any) -> None:
    torch.ops.weft.set_timeouts(_seconds(timeout, "timeout"), _seconds(first_timeout, "first_timeout"))


def _seconds(timeout: Any, name: str) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, datetime.timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ValueError(f"[W006] initialize: {name} must be seconds or a timedelta, not {shown(timeout)}")
    return float(min(timeout, 1e18))  # an int may be too large for a float


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_group(num_processes: int | None, process_id: int | None) -> None:
    import torch.distributed as dist

    size, rank = dist.get_world_size(), dist.get_rank()
    for name, asked, there in (("num_processes", num_processes, size), ("process_id", process_id, rank)):
        if asked is not None and asked != there:
            raise ValueError(
                f"[W008] initialize: {name} is {asked}, but torch.distributed is initialized already, as rank {rank} "
                f"of {size}"
            )


def _choose_backend(rank: int, world_size: int) -> str:
    """NCCL where each process of this machine has a GPU of its own."""
    import torch.distributed as dist

    gpus = torch.cuda.device_count() if torch.cuda.is_available() and dist.is_nccl_available() else 0
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", min(world_size, gpus) or 1))
    if gpus == 0 or local_size > gpus:
        return "gloo"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank % gpus)))
    return "cpu:gloo,cuda:nccl"


def same_random_state() -> None:
    """Rank 0's, on all ranks: a stream that was seeded and drawn from before goes on as it would in one process."""
    torch.ops.weft._share_random_state()


def rank() -> int:
    """This process's number in the world, from 0."""
    adopt_world()
    return torch.ops.weft.rank()


def world_size() -> int:
    """The number of processes."""
    adopt_world()
    return torch.ops.weft.world_size()


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of all processes, one each: ["cpu:0", "cpu:1", ...]; as keras.distribution.list_devices.

    Args:
        device_type: "cpu", "gpu" (or "cuda") or "tpu"; default "gpu" where there is one, else "cpu". Of a type that is
            absent the list is empty.

    Raises:
        ValueError: another type.
    """
    default = "gpu" if torch.cuda.is_available() else "cpu"
    kind = checked(device_type or default, "list_devices: the device type").lower()
    if kind not in ("cpu", "gpu", "cuda", "tpu"):
        raise ValueError(f"[W029] list_devices: {shown(device_type)} is no device type; known: cpu, gpu, tpu")
    if kind == "tpu" or (kind != "cpu" and not torch.cuda.is_available()):
        return []
    name = "cpu" if kind == "cpu" else "gpu"
    return [f"{name}:{i}" for i in range(world_size())]


def get_device_count(device_type: str | None = None) -> int:
    """How many `list_devices` lists."""
    return len(list_devices(device_type))
