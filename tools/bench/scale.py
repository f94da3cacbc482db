"""What a rank of a large world takes, beside a rank of 64: host time of ops, of new shapes and of distribute_module,
memory of meshes and plans.

    python tools/bench/scale.py [--ranks 64 1024 16384] [--rounds N]

Each process is rank 0 of a mesh of shape (ranks / 64, 8, 8), with torch's fake group in the place of the other ranks,
so that all that is left is this rank's own work; the sizes take turns, the best of the rounds counts. Then four real
processes show how many keys the store has after each step of a start: groups are made where a mesh is first used.

  op        microseconds a call of ops whose plans are known: add, mm with a sum over the model axis, layer_norm, view
  miss      microseconds of processor time of the first call with a new shape
  module    seconds of processor time of distribute_module for 1,000 variables, less what the ranks compare
            (an all-gather of 24 bytes)
  memory    KiB that the mesh, the layouts and 1,000 plans take
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time

import figures
import timing
import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft
from tqdm import tqdm

AXES = ("replica", "data", "model")
PLANS = 1000  # of which the memory is measured
UNITS = {"op": "us", "miss": "us", "module": "s", "memory": "KiB"}


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def memory_in_use() -> int:
    """Bytes that the C library's allocator has given out."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    facts = mallinfo2()
    return int(facts.uordblks + facts.hblkhd)


def ops(mesh: weft.DeviceMesh, n: int) -> list:
    """Calls on small tensors split over each axis; n is a dimension's length."""

    def lay(t: torch.Tensor, *axes: str | None) -> torch.Tensor:
        return weft.distribute_tensor(t, axes, mesh)

    rows = mesh.shape[0] * 16  # two rows on each rank
    x, y = (lay(torch.ones(rows // mesh.shape[0], 8, n), "data", None, None) for _ in range(2))
    a, b = lay(torch.ones(16, 8 * n), "data", "model"), lay(torch.ones(8 * n, 8), "model", None)
    wide = lay(torch.ones(rows, n), "replica", None)
    weight = lay(torch.ones(n), None)
    return [
        lambda: x + y,
        lambda: torch.relu(a.mm(b)),  # relu needs the sum
        lambda: F.layer_norm(wide, (n,), weight, weight),
        lambda: x.view(16, 2, 4, n),
    ]


def mesh_of(ranks: int) -> weft.DeviceMesh:
    """A mesh with a fake group of rank 0's row along each axis."""
    mesh = weft.DeviceMesh((ranks // 64, 8, 8), AXES, device_type="cpu")
    rows = [range(0, ranks, 64), range(0, 64, 8), range(8)]
    torch.ops.weft.adopt_groups(mesh._object, [dist.new_group(list(row)).group_name for row in rows])
    return mesh


def measure(ranks: int) -> dict[str, float]:
    timing.fake_ranks(ranks)
    at_first = memory_in_use()
    mesh = mesh_of(ranks)
    calls = ops(mesh, 8)
    for call in calls:
        call()
    op = sum(timing.interleaved({str(i): call for i, call in enumerate(calls)}, 15, 300).values()) / len(calls)
    shapes = [weft.distribute_tensor(torch.ones(16, n + 9), ("data", None), mesh) for n in range(PLANS)]
    misses = [timing.cpu_time(lambda x=x: x * 2) for x in shapes]
    del shapes
    memory = memory_in_use() - at_first
    model = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(500))
    # The fake group's own all-gather copies rank by rank: on a mesh without processes there is none.
    alone = weft.DeviceMesh(mesh.shape, AXES, device_type="cpu", simulate=0)
    begin = time.process_time()
    weft.distribute_module(model, {".*/weight": ("model", "data")}, mesh=alone)
    module = time.process_time() - begin
    return {
        "op": op,
        "miss": sorted(misses)[len(misses) // 2],
        "module": module,
        "memory": memory / 1024,
    }


def start() -> list[tuple[str, int]]:
    """Keys in the store after each step, in a world of four."""
    store = dist.distributed_c10d._get_default_store()
    steps: list[tuple[str, int]] = []

    def step(name: str) -> None:
        dist.barrier()
        steps.append((name, store.num_keys()))
        dist.barrier()

    step("init_process_group")
    weft.initialize()
    step("weft.initialize")
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
    x = weft.distribute_tensor(torch.ones(4, 4), ("data", "model"), mesh)
    step("a mesh and a tensor")
    x.sum(1).relu()
    step("a sum over one axis")
    x.sum(0).relu()
    step("and over the other")
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 1024, 16384], help="sizes, multiples of 64")
    parser.add_argument("--rounds", type=int, default=3, help="in each of which all sizes take their turn (default 3)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # what a process of this program is started with
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    if any(n % 64 or n < 64 for n in options.ranks):
        parser.error("--ranks: multiples of 64")
    best: dict[int, dict[str, float]] = {}
    for _ in tqdm(range(options.rounds), desc="rounds", disable=not sys.stderr.isatty()):
        for n in options.ranks:
            command = [sys.executable, __file__, "--one", str(n)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
            found = json.loads(done.stdout.splitlines()[-1])
            best[n] = {key: min(value, best.get(n, found)[key]) for key, value in found.items()}
    first = options.ranks[0]
    print(f"{'ranks':>8}" + "".join(f"{name + (' ' + unit if unit else ''):>14}" for name, unit in UNITS.items()))
    for n, row in best.items():
        print(f"{n:>8}" + "".join(f"{row[name]:>14.3f}" for name in UNITS))
    last = options.ranks[-1]
    for name, unit in UNITS.items():
        ratio = best[last][name] / best[first][name]
        print(f"{name}: {last} ranks / {first} ranks {ratio:.2f}")
        figures.note(
            f"{name}, a rank of {last}", f"one of {first}", unit, best[last][name], best[first][name], goal=1.2
        )
    steps = timing.gloo_ranks(4, start)
    print("keys in the store of four processes: " + ", ".join(f"{name} {keys}" for name, keys in steps))


if __name__ == "__main__":
    main()
