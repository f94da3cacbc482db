"""What the benchmarks share: worlds of one process and of several, and interleaved timing."""

import json
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping

import figures
import torch
import torch.distributed as dist
import torch.multiprocessing


def per_call(fn: Callable[[], object], number: int) -> float:
    """Microseconds per call. On a GPU that is the host's time: nothing here waits for the card."""
    start = time.perf_counter()
    for _ in range(number):
        fn()
    return (time.perf_counter() - start) / number * 1e6


def cpu_time(fn: Callable[[], object]) -> float:
    """Microseconds of this process's threads in one call: for what cannot be repeated until a quiet moment comes."""
    start = time.process_time_ns()
    fn()
    return (time.process_time_ns() - start) / 1e3


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int, number: int) -> dict[str, float]:
    """Microseconds per call of each candidate, the best of `repeats` rounds in each of which all take their turn."""
    best = dict.fromkeys(candidates, math.inf)
    for fn in candidates.values():
        per_call(fn, 5)
    for _ in range(repeats):
        for name, fn in candidates.items():
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # no candidate queues behind the one before
            best[name] = min(best[name], per_call(fn, number))
    return best


def in_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each candidate's turn returns, round by round. Each round has an order of its own, the same on all ranks, so
    that all follow upon all others, and upon themselves, as often."""
    values: dict[str, list[float]] = {who: [] for who in turns}
    for r in range(rounds):
        for who, turn in random.Random(r).sample(list(turns.items()), len(turns)):
            values[who].append(turn())
    return values


def together(step: Callable[[], object], busy: list[float]) -> Callable[[], float]:
    """A turn of a step that all ranks begin together: milliseconds; those of this process's threads go into `busy`."""

    def turn() -> float:
        dist.barrier()
        start, used = time.perf_counter(), time.process_time()
        step()
        busy.append((time.process_time() - used) * 1e3)
        return (time.perf_counter() - start) * 1e3

    return turn


def show_profile(step: Callable[[], object], rounds: int) -> None:
    """Prints where that many steps spend their time on the first rank, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(rounds):
            step()
    if dist.get_rank() == 0:
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=40), flush=True)


def median_between(values: list[float]) -> str:
    """The median and, in brackets, between what it lies."""
    median, low, high = figures.interval(values)
    return f"{median:.2f} ({low:.2f} - {high:.2f})"


def one_rank(device: str = "cpu") -> None:
    """Makes this process a world of its own, with NCCL for a GPU."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def fake_ranks(size: int) -> None:
    """Makes this process rank 0 of `size`, with torch's own fake group: collectives return at once, so that what is
    left is the host's work. The values that they would bring are whatever lies in memory."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.set_num_threads(1)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)


def gloo_ranks(size: int, function: Callable[..., object], *args: object) -> object:
    """Runs function(*args) on `size` fresh processes with a Gloo group and returns rank 0's value (numbers, strings,
    lists, dicts of such). The first error ends them all."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(_rank, (size, folder, function, args), size, start_method="spawn")
        with open(f"{folder}/value") as file:
            return json.load(file)


def _rank(rank: int, size: int, folder: str, function: Callable[..., object], args: tuple) -> None:
    torch.set_num_threads(1)  # ranks share one machine: more threads would only fight for its cores
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    value = function(*args)
    if rank == 0:
        with open(f"{folder}/value", "w") as file:
            json.dump(value, file)
    dist.barrier()  # nobody leaves while another still talks to it
    dist.destroy_process_group()
