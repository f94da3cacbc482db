"""Cost of a new shape: what the first call of an op with a shape never seen before takes longer than the next one with
that shape, beside DTensor.

    python tools/bench/miss.py [--ranks N] [--samples N] [--rounds N] [--shapes N]

One process. With --ranks 8 it stands for one of eight, with torch's fake group, so that there is something to plan on
every mesh axis. In each round every candidate calls an op with --samples new shapes one after the other, then with the
same ones again; the figures are medians over the rounds, in microseconds of processor time a call (other work on the
machine does not count). `plain` shows what a new shape costs torch itself (memory, kernels made for a shape). `plans`
counts the plans that Weft makes for one shape; `weft adds` is weft - plain, for each of them. Then `x + x` runs over
--shapes distinct shapes, to show that memory is bounded.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import figures
import timing
import torch
import torch.nn.functional as F
import weft
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

MESHES = {1: ((1,), (1, 1), (1, 1, 1)), 8: ((8,), (2, 4), (2, 2, 2))}  # by number of ranks
AXES = ("a", "b", "c")
Lay = Callable[..., torch.Tensor]


def cases(lay: Lay, n: int) -> dict[str, Callable[[], object]]:
    """Calls whose operands have a size that depends on n. lay(tensor, k) splits its first k dimensions."""
    x, y = lay(torch.randn(8, 8, n), 2), lay(torch.randn(8, 8, n), 2)
    a, b = lay(torch.randn(8, n), 1), lay(torch.randn(n, 8), 1)
    weight = lay(torch.ones(n), 0)
    image, kernel = lay(torch.randn(8, 4, 8, n), 1), lay(torch.randn(4, 4, 3, 3), 0)
    linear = lay(torch.randn(16, n), 1).requires_grad_()
    loss = F.linear(a, linear).sum()

    def backward() -> None:
        loss.backward(retain_graph=True)
        linear.grad = None

    return {
        "add": lambda: x + y,
        "mm": lambda: a.mm(b),
        "sum": lambda: x.sum(0),
        "view": lambda: x.view(8, 8, n // 8, 8),
        "softmax": lambda: F.softmax(x, -1),
        "layer_norm": lambda: F.layer_norm(x, (n,), weight, weight),
        "conv2d": lambda: F.conv2d(image, kernel),
        "cat": lambda: torch.cat([x, y], 2),
        "linear backward": backward,
    }


def layers(shape: tuple[int, ...]) -> dict[str, Lay]:
    """What lays out a tensor on a mesh of that shape, for each candidate."""
    device_mesh = init_device_mesh("cpu", shape, mesh_dim_names=AXES[: len(shape)])
    mesh = weft.DeviceMesh.from_torch(device_mesh)

    def by_weft(t: torch.Tensor, k: int) -> torch.Tensor:
        axes = mesh.axis_names[: min(k, len(shape))]
        return weft.distribute_tensor(t, axes + (None,) * (t.dim() - len(axes)), mesh)

    def by_dtensor(t: torch.Tensor, k: int) -> torch.Tensor:
        # No source rank: with one, DTensor broadcasts the tensor first.
        return distribute_tensor(
            t, device_mesh, [Shard(i) if i < k else Replicate() for i in range(len(shape))], src_data_rank=None
        )

    return {"plain": lambda t, _: t, "weft": by_weft, "dtensor": by_dtensor}


def extra(calls: list[Callable[[], object]]) -> float:
    """What the first round of these calls takes longer than the second, per call."""

    def all_of_them() -> None:
        for call in calls:
            call()

    first = timing.cpu_time(all_of_them)
    return (first - timing.cpu_time(all_of_them)) / len(calls)


def measure(shape: tuple[int, ...], lay: dict[str, Lay], samples: int, rounds: int) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    plans: dict[str, float] = {}
    size = itertools.count(10)
    for i in range(-1, rounds):  # the first also reads rules and imports modules
        sizes = [8 * next(size) for _ in range(samples if i >= 0 else 2)]
        fns = {who: [cases(by, n) for n in sizes] for who, by in lay.items()}
        for op in fns["plain"][0]:
            for who in fns:
                before = torch.ops.weft.plan_counts()[0]
                us = extra([calls[op] for calls in fns[who]])
                if who == "weft":
                    plans[op] = (torch.ops.weft.plan_counts()[0] - before) / len(sizes)
                if i >= 0:
                    found.setdefault(op, {}).setdefault(who, []).append(us)
    print(f"{'op':18s}{'plain':>9s}{'weft':>9s}{'dtensor':>10s}{'plans':>7s}{'weft adds':>11s}{'dtensor/weft':>14s}")
    ratios = []
    for op, by in found.items():
        plain, ours, theirs = (statistics.median(by[who]) for who in ("plain", "weft", "dtensor"))
        ratios.append(theirs / max(ours, 0.1))
        adds = (ours - plain) / max(plans[op], 1)
        figures.note(f"{op} of a new shape, mesh {shape}", "DTensor", "us", ours, theirs, headline=False)
        print(f"{op:18s}{plain:9.1f}{ours:9.1f}{theirs:10.1f}{plans[op]:7.1f}{adds:11.1f}{ratios[-1]:14.1f}")
    mean = statistics.geometric_mean(ratios)
    figures.note(f"a new shape, mesh {shape}, geometric mean", "DTensor", "of DTensor's", 1 / mean, 1.0)
    print(f"geometric mean of dtensor/weft: {mean:.1f}\n")


def resident() -> float:
    """MiB of memory that this process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def memory(lay: Lay, shapes: int) -> None:
    print(f"{'distinct shapes':>15s}{'plans made':>12s}{'plans kept':>12s}{'resident MiB':>14s}{'us per shape':>14s}")
    made_before = torch.ops.weft.plan_counts()[0]
    start, done = time.perf_counter(), 0
    for i in range(shapes):
        # Five digits of i in base 16: a million distinct shapes of tensors that stay small.
        x = lay(torch.empty([1 + (i >> 4 * digit) % 16 for digit in range(5)], dtype=torch.int8), 1)
        x + x
        if (i + 1) % max(shapes // 10, 1) == 0:
            made, kept = torch.ops.weft.plan_counts()
            us, start, done = (time.perf_counter() - start) / (i + 1 - done) * 1e6, time.perf_counter(), i + 1
            print(f"{i + 1:15d}{made - made_before:12d}{kept:12d}{resident():14.1f}{us:14.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, choices=sorted(MESHES), default=1, help="of the meshes (default 1)")
    parser.add_argument("--samples", type=int, default=12, help="new shapes per op, mesh and round (default 12)")
    parser.add_argument("--rounds", type=int, default=5, help="per mesh (default 5)")
    parser.add_argument("--shapes", type=int, default=100_000, help="of the memory run, up to 1048576 (default 100000)")
    options = parser.parse_args()
    timing.fake_ranks(options.ranks)
    torch.backends.mkldnn.set_flags(False)  # oneDNN makes code for each new shape, which hides all else
    torch.manual_seed(0)
    for shape in MESHES[options.ranks]:
        lay = layers(shape)
        print(f"mesh {shape}")
        measure(shape, lay, options.samples, options.rounds)
    memory(lay["weft"], options.shapes)


if __name__ == "__main__":
    main()
