"""Ranks that end, stop, leave, run out of memory or are slow."""

import contextlib
import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator

import torch
import weft
from faults.part import Part
from faults.row import row
from faults.rows_training import Training
from torch import nn

STOPPED_LIMIT = 5  # seconds: the group's time-out
KILLED = {"exits": {1: -signal.SIGKILL}, "same": False}  # each names its own socket


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def common_folder(name: str) -> Iterator[str]:
    """A folder that the ranks, which one process has started, name alike."""
    folder = os.path.join(tempfile.gettempdir(), f"{os.getppid()}_{name}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@row(r"rank 1\b", r"\[full_tensor\]", r"number \d+", **KILLED)
def killed_before_a_collective(p: Part) -> None:
    """one rank is killed before a collective."""
    plain, sharded = p.rows()
    p.check_full(sharded, plain)
    if p.odd():
        die()
    p.go_on()


@row(r"rank 1\b", r"\[full_tensor\]", r"number \d+", ranks=4, **KILLED)
def killed_before_a_collective_on_four(p: Part) -> None:
    """one rank is killed before a collective, four ranks."""
    killed_before_a_collective(p)


# Gloo does not always tell a send that is under way that its connection has ended: that is found by looking.
@row(r"rank 1\b", r"number \d+", within=5, **KILLED)
def killed_inside_a_collective(p: Part) -> None:
    """one rank is killed while a gather of 64 MiB is on its way."""
    plain = torch.ones(p.ranks, 2**23)
    sharded = p.lay(plain, ("a", None))
    p.check_full(sharded, plain)
    if p.odd():
        threading.Timer(0.03, die).start()
    for _ in range(50):
        p.check(weft.full_tensor(sharded)[:, ::4096], plain[:, ::4096])


@row(r"W092", r"(?<!a)save to '[^']*killed_in_a_save", r"rank 1\b", r"number \d+", **KILLED)
def killed_in_a_save(p: Part) -> None:
    """one rank is killed before it saves."""
    _, sharded = p.rows()
    if p.odd():
        die()
    with common_folder("killed_in_a_save") as folder:
        weft.save(folder, {"t": sharded})


@row(r"W092", r"async_save to '[^']*while_saving", r"rank 1 has ended", ranks=3, **KILLED)
def killed_while_saving(p: Part) -> None:
    """one rank is killed while its part is written in the background, three ranks."""
    _, sharded = p.rows()
    with common_folder("while_saving") as folder:
        pending = weft.async_save(folder, {"t": sharded})
        if p.odd():
            die()
        pending.wait()


@row(
    "W097",
    r"async_save to '[^']*without_a_store",
    "rank 0 or torchrun",
    ranks=3,
    exits={0: -signal.SIGKILL},
    same=False,  # each names how its own connection to the store has ended
)
def store_killed_while_saving(p: Part) -> None:
    """rank 0, which keeps the job's store, is killed while the others' parts are written in the background."""
    _, sharded = p.rows()
    with common_folder("without_a_store") as folder:
        pending = weft.async_save(folder, {"t": sharded})
        if p.faulty and p.rank == 0:
            die()
        pending.wait()


@row(r"rank 1\b", r"number \d+", **KILLED)
def killed_in_backward(p: Part) -> None:
    """one rank is killed in a backward pass."""
    training = Training(p)
    training.step(0)
    losses = training.losses(1)
    if p.odd():
        training.sharded[0].weight.register_hook(lambda g: die())
    training.update(losses)
    training.step(2)


# At a random time a rank that lives may not have come either: "ranks 0, 1 have not come".
@row(r"ranks? (\d+, )*1\b", r"number \d+", ranks=3, **KILLED)
def killed_anywhere(p: Part) -> None:
    """one rank is killed at a random time in training, three ranks."""
    training = Training(p)
    training.step(0)
    if p.odd():
        threading.Timer(p.random.uniform(0, 0.2), die).start()
    for step in range(1, 500 if p.faulty else 5):
        training.step(step)


@row("store|rank 0", exits={0: -signal.SIGKILL})
def store_killed(p: Part) -> None:
    """rank 0, which keeps the job's store, is killed."""
    p.tell("mark")
    plain, sharded = p.rows()
    p.check_full(sharded, plain)
    if p.faulty and p.rank == 0:
        die()
    p.go_on()


@row(r"rank 1\b", r"\[full_tensor\]", within=STOPPED_LIMIT, group_timeout=STOPPED_LIMIT, absent=[1])
def stopped(p: Part) -> None:
    """one rank is stopped (SIGSTOP) until the group's time-out of 5 s."""
    plain, sharded = p.rows()
    if p.odd():
        os.kill(os.getpid(), signal.SIGSTOP)
    p.check_full(sharded, plain)


@row(r"rank 1\b", r"\[full_tensor\]", within=STOPPED_LIMIT, group_timeout=STOPPED_LIMIT, silent=[1])
def leaves_early(p: Part) -> None:
    """one rank leaves early and lives."""
    plain, sharded = p.rows()
    p.check_full(sharded, plain)
    if not p.odd():
        p.check_full(sharded, plain)


@row(expect="right", output="waiting for rank 1")
def slow(p: Part) -> None:
    """one rank takes 7 s before a collective: the others warn, and wait."""
    plain, sharded = p.rows()
    if p.odd():
        time.sleep(7)
    p.check_full(sharded, plain)


@row(expect="right", group_timeout=20)
def slow_once_and_again(p: Part) -> None:
    """one rank takes a second before every other collective."""
    odd = p.odd()
    for i in range(3):
        plain, sharded = p.rows(i)
        if odd:
            time.sleep(1)
        p.check_full(sharded, plain)


@row("allocate", "all_gather", r"rank 1\b|this rank", within=2, same=False)
def out_of_memory(p: Part) -> None:
    """one rank has no memory for what a gather of 64 MiB returns, and lives on."""
    sharded = p.lay(torch.arange(2.0**24).view(p.ranks, -1), ("a", None))
    before = weft.local_tensor(sharded)[:, ::4096].clone()
    odd = p.odd()
    if odd:
        in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**22, resource.RLIM_INFINITY))
    try:
        p.check(weft.full_tensor(sharded)[0, :4], torch.arange(4.0))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        p.check(weft.local_tensor(sharded)[:, ::4096], before, "the input afterwards")


@row(r"rank 1\b|this rank", "embedding", "index out of range", same=False)
def kernel_refuses_on_one(p: Part) -> None:
    """one rank's part has an index out of range."""
    table = weft.distribute_variable(nn.Embedding(8, 4).weight.detach(), (None, None), p.mesh)
    indices = torch.arange(4 * p.ranks) % 8
    if p.odd() or p.faulty:
        indices[5] = 100  # of rank 1's part
    sharded = p.lay(indices, ("a",))
    plain = weft.full_tensor(table)
    p.check_full(nn.functional.embedding(sharded, table), plain[indices % 8])
