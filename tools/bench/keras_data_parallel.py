"""Keras's DataParallel under Weft beside torch's DistributedDataParallel around the same model, on two Gloo ranks.

    python tools/bench/keras_data_parallel.py [--rounds N] [--steps N] [--only TEXT] [--own-parts]

Both take one global batch, each rank its half of it, through Keras's train_on_batch with the same optimizer, loss and
metrics; with --own-parts Weft is given the halves too (auto_shard_dataset=False) rather than the whole batch. They take
turns in the same processes, each round in the other order, the garbage of the one collected before the other starts.
Milliseconds are rank 0's median of the rounds, weft/DDP is the median of the rounds' ratios and, in brackets, where it
lies at 95 % confidence (by order statistics, no distribution assumed); target: at most 1. Exit code 1 where their
weights differ after the first turn. (The conv net has no BatchNormalization: Keras's statistics are those of the global
batch, under DistributedDataParallel each rank would have its own.)
"""

import argparse
import functools
import gc
import statistics
import sys
from collections.abc import Callable
from typing import Any

import figures
import keras_models as km
import numpy as np
import timing
import torch
import torch.distributed as dist
import weft.keras
from keras_models import keras

RANKS, TARGET, TOLERANCE = 2, 1.0, 1e-4
WORKLOADS = {
    "MLP, 1 M, SGD": km.Workload(km.dense(4, 512), km.numbers(64, 512), km.sgd),
    "MLP, 1 M, Adam": km.Workload(km.dense(4, 512), km.numbers(64, 512), km.adam),
    "MLP, 5 M, Adam": km.Workload(km.dense(5, 1024), km.numbers(64, 1024), km.adam),
    "MLP, 20 x 64, Adam": km.Workload(km.dense(20, 64), km.numbers(64, 64), km.adam),
    "conv net, Adam": km.Workload(lambda: km.conv_net(32, normalize=False), km.images(64), km.adam, "classes"),
    "transformer, Adam": km.Workload(km.transformer, km.tokens(16), km.adam, "classes"),
}


class Forward:
    """A model whose forward pass is DistributedDataParallel's."""

    def __init__(self, model: Any) -> None:
        self._model, self._ddp = model, torch.nn.parallel.DistributedDataParallel(model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ddp(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def with_ddp(model: Any) -> Any:
    """The model, whose train_step is Keras's own but for the forward pass."""
    forward = Forward(model)
    step = type(model).train_step
    object.__setattr__(model, "train_step", lambda data: step(forward, data))  # Keras would track it
    return model


def rank(options: argparse.Namespace) -> bool:
    """Measures and, on rank 0, prints; returns whether both had the same weights."""
    weft.keras.enable()
    keras.distribution.initialize()
    parallel = keras.distribution.DataParallel(auto_shard_dataset=not options.own_parts)
    first, right = dist.get_rank() == 0, True
    if first:
        print(f"{'ms per step':24s}{'parameters':>12s}{'DDP':>10s}{'weft':>10s}{'weft/DDP':>20s}{'target':>8s}")
    for name, workload in WORKLOADS.items():
        if options.only not in name:
            continue
        x, y = workload.batch()
        half = slice(dist.get_rank() * len(x) // RANKS, (dist.get_rank() + 1) * len(x) // RANKS)
        keras.distribution.set_distribution(None)
        theirs = with_ddp(workload.compiled())
        keras.distribution.set_distribution(parallel)
        ours = workload.compiled()
        batch = (x[half], y[half]) if options.own_parts else (x, y)
        candidates = {
            "ddp": (None, lambda theirs=theirs, x=x[half], y=y[half]: theirs.train_on_batch(x, y)),
            "weft": (parallel, lambda ours=ours, batch=batch: ours.train_on_batch(*batch)),
        }
        measure(candidates, 1, 10)  # warms up
        keras.distribution.set_distribution(parallel)
        # Now, since rounding grows in some of them: a ReLU decides otherwise.
        pairs = zip(theirs.get_weights(), ours.get_weights(), strict=True)
        difference = max(float(np.abs(a - b).max()) for a, b in pairs)
        ms = measure(candidates, options.rounds, options.steps)
        if first:
            ratio = timing.median_between([a / b for a, b in zip(ms["weft"], ms["ddp"], strict=True)])
            figures.note(f"{name}, DataParallel", "Keras's step around DDP", "ms", ms["weft"], ms["ddp"], goal=TARGET)
            columns = "".join(f"{statistics.median(v):10.2f}" for v in ms.values())
            print(f"{name:24s}{ours.count_params():12,d}{columns}{ratio:>20s}{TARGET:8.1f}", flush=True)
            if not difference < TOLERANCE:
                print(f"  weights differ by {difference:.1e}")
                right = False
    return right


def measure(candidates: dict[str, tuple[Any, Callable]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds per step of each candidate, round by round, each under its own distribution."""

    def turn(distribution: Any, step: Callable) -> float:
        keras.distribution.set_distribution(distribution)
        gc.collect()
        step()  # its code and data are in the caches again
        dist.barrier()
        return timing.per_call(step, steps) / 1e3

    return timing.in_turns({who: functools.partial(turn, *given) for who, given in candidates.items()}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24, help="in each of which both take their turn (default 24)")
    parser.add_argument("--steps", type=int, default=30, help="in a turn, after one that is not timed (default 30)")
    parser.add_argument("--only", default="", help="the workloads whose names have this in them")
    parser.add_argument("--own-parts", action="store_true", help="give Weft each rank's half of the batch")
    options = parser.parse_args()
    sys.exit(0 if timing.gloo_ranks(RANKS, rank, options) else 1)


if __name__ == "__main__":
    main()
