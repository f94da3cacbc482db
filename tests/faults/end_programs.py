"""Small programs whose ends are tested; ends.py runs them on four ranks."""

import atexit
import ctypes
import os
import signal
import sys
import time

LIBC = ctypes.PyDLL(None)
lock_held = ctypes.c_uint(100_000)  # microseconds
times = None  # file descriptor of a pipe, in a rank


def tell_time(what):
    if times is not None:
        os.write(times, f"{os.getpid()} {what} {time.monotonic()}\n".encode())


def come_to_the_lock():
    tell_time("finalizes")
    at_the_lock.release()


# Registered before all others, so called last: a function that holds Python's lock while others come to ask for it.
atexit.register(LIBC.usleep, lock_held)
atexit.register(come_to_the_lock)

os.environ.update(KERAS_BACKEND="torch", OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")

import multiprocessing  # noqa: E402

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import weft  # noqa: E402

RANKS = 4
LIMIT = 60.0  # seconds for four ranks from their start to their end
FORK = multiprocessing.get_context("fork")
together, at_the_lock = FORK.Barrier(RANKS, timeout=LIMIT / 2), FORK.Semaphore(0)
PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


@program
def initialize():
    weft.initialize()


@program
def train():
    weft.initialize()
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
    layouts = weft.LayoutMap(mesh)
    layouts["0/weight"] = ("model", None)
    layouts["2/weight"] = (None, "model")
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    weft.distribute_module(model, layouts)
    uneven = weft.shard_batch(torch.randn(7, 6), mesh, "data")
    model(uneven).sum().backward()


@program
def train_and_destroy():
    train()
    dist.destroy_process_group()


@program
def raise_error():
    train()
    tell_time("ends")
    raise RuntimeError("on purpose")


@program
def exit_3():
    train()
    tell_time("ends")
    sys.exit(3)


@program
def fit():
    import keras
    import weft.keras

    weft.keras.enable()
    keras.distribution.initialize()
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["dense/kernel"] = (None, "model")
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch"))
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="dense")])
    model.compile("sgd", "mse")
    model.fit(torch.randn(7, 6), torch.randn(7, 4), verbose=0)


@program
def leave_pending():
    """One rank comes to the collective when the others hold the lock, and so will not let go of it until they end."""
    weft.initialize()
    if weft.rank() == RANKS - 1:
        while at_the_lock.acquire(block=False):
            pass
        together.wait()
        for _ in range(RANKS - 1):
            at_the_lock.acquire(timeout=1)
    else:
        lock_held.value = 1_500_000
        atexit.register(tell_time, "ends")
        atexit.register(together.wait)
    dist.all_reduce(torch.ones(1000), async_op=True)


@program
def leave_unanswered():
    """One rank never comes to it."""
    weft.initialize()
    if weft.rank() == RANKS - 1:
        time.sleep(2)
    else:
        dist.all_reduce(torch.ones(1000), async_op=True)


@program
def lose_a_rank():
    weft.initialize()
    if weft.rank() == RANKS - 1:
        tell_time("ends")
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(1000), async_op=True)
