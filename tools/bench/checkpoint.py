"""Checkpoints of a sharded model: Weft beside torch.distributed.checkpoint (DCP) of DTensors, in one run on one disk.

    python tools/bench/checkpoint.py [--megabytes N] [--repeats N] [--folder F]

Four Gloo ranks save weights split by rows and by columns, and a replicated one, and two ranks load them. The candidates
take turns; seconds are of the slowest rank, the median of the repeats.

  blocks   async_save, until it returns
  async    the same, until all is on the disk, which takes as long as the disk does
  save     until all is on the disk, of DCP too, whose sync_files is on
  load     into the layouts of two ranks, into memory that has no values yet; DCP loads into empty DTensors
  raw      two ranks reading a half of the saved files each, into memory of their own
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time

import figures
import timing
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import weft
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

GOALS = {"blocks": 0.25, "save": 1.0, "load": 0.5}
SPLITS = {"rows": 0, "columns": 1, "whole": None}


def shapes(megabytes: int) -> dict[str, tuple[str, int]]:
    """Weights of 4096 columns: names, splits and rows."""
    rows = megabytes * (1 << 20) // (8 * 4 * 4096)
    return {f"{i}_{split}": (split, rows) for i in range(4) for split in ("rows", "columns")} | {
        "whole": ("whole", 256)
    }


def of_weft(megabytes: int) -> dict[str, torch.Tensor]:
    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    out = {}
    for name, (split, rows) in shapes(megabytes).items():
        axes = tuple("a" if SPLITS[split] == d else None for d in range(2))
        layout = weft.TensorLayout(axes, mesh)
        out[name] = torch.ops.weft._empty((rows, 4096), layout._object, dtype=torch.float32, device="cpu").fill_(1)
    return out


def of_dcp(megabytes: int) -> dict[str, torch.Tensor]:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    out = {}
    for name, (split, rows) in shapes(megabytes).items():
        placement = Replicate() if SPLITS[split] is None else Shard(SPLITS[split])
        out[name] = distribute_tensor(torch.ones(rows, 4096), mesh, [placement])
    return out


def timed(call):
    """Seconds until the slowest rank has returned, and the value."""
    dist.barrier()
    start = time.perf_counter()
    value = call()
    seconds = torch.tensor(time.perf_counter() - start)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return seconds.item(), value


def fresh(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if dist.get_rank() == 0:
        shutil.rmtree(path, ignore_errors=True)
        os.sync()
    dist.barrier()
    return path


def saves(megabytes: int, repeats: int, folder: str) -> dict[str, list[float]]:
    weft.initialize()
    mine, theirs = of_weft(megabytes), of_dcp(megabytes)
    group = dist.new_group(backend="gloo")  # for DCP's thread: what is timed meets in the other
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    for _ in range(repeats):
        path = fresh(folder, "weft")
        blocked, pending = timed(lambda p=path: weft.async_save(p, mine))
        note("weft blocks", blocked)
        note("weft async", blocked + timed(pending.wait)[0])
        path = fresh(folder, "dcp")
        blocked, future = timed(lambda p=path: dcp.async_save(theirs, checkpoint_id=p, process_group=group))
        note("dcp blocks", blocked)
        note("dcp async", blocked + timed(future.result)[0])
        path = fresh(folder, "weft")
        note("weft save", timed(lambda p=path: weft.save(p, mine))[0])
        path = fresh(folder, "dcp")
        writer = dcp.FileSystemWriter(path, sync_files=True)
        note("dcp save", timed(lambda w=writer: dcp.save(theirs, storage_writer=w))[0])
    return found


def read_half(path: str) -> None:
    files = [f for f in sorted(os.listdir(path)) if f.endswith(".safetensors")]
    for file in files:
        with open(os.path.join(path, file), "rb", buffering=0) as f:
            size = os.path.getsize(f.name)
            first = size // 2 if dist.get_rank() else 0
            length = size // 2 if not dist.get_rank() else size - first
            memory = memoryview(torch.empty(length, dtype=torch.uint8).numpy())
            f.seek(first)
            done = 0
            while done < length:
                done += f.readinto(memory[done:])


def loads(megabytes: int, repeats: int, folder: str) -> dict[str, list[float]]:
    weft.initialize()
    found: dict[str, list[float]] = {}
    mesh = weft.DeviceMesh((2,), ("a",), device_type="cpu")
    other = init_device_mesh("cpu", (2,))

    def by_weft() -> None:
        with torch.device("meta"):
            net = torch.nn.Module()
            for name, (_, rows) in shapes(megabytes).items():
                net.register_parameter(name, torch.nn.Parameter(torch.empty(rows, 4096)))
        layouts = weft.LayoutMap(mesh, {".*_rows": ("a", None), ".*_columns": (None, "a")})
        weft.distribute_module(net, layouts, param_init_fn=lambda m: None)
        weft.load(os.path.join(folder, "weft"), net)

    def by_dcp() -> None:
        state = {}
        for name, (split, rows) in shapes(megabytes).items():
            placement = Replicate() if SPLITS[split] is None else Shard(SPLITS[split])
            state[name] = torch.distributed.tensor.empty(rows, 4096, device_mesh=other, placements=[placement])
        dcp.load(state, checkpoint_id=os.path.join(folder, "dcp"))

    candidates = {"weft load": by_weft, "dcp load": by_dcp, "raw": lambda: read_half(os.path.join(folder, "weft"))}
    for _ in range(repeats):
        for name, call in candidates.items():
            found.setdefault(name, []).append(timed(call)[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512, help="of the model (default 512)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="on the disk to be measured; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = timing.gloo_ranks(4, saves, options.megabytes, options.repeats, folder)
        found |= timing.gloo_ranks(2, loads, options.megabytes, options.repeats, folder)
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    print(f"{'seconds':10s}{'weft':>10s}{'dcp':>10s}{'ratio':>10s}")
    for what in ("blocks", "async", "save", "load"):
        mine, theirs = medians[f"weft {what}"], medians[f"dcp {what}"]
        rounds = found[f"weft {what}"], found[f"dcp {what}"]
        figures.note(f"checkpoint of {options.megabytes} MB: {what}", "DCP", "s", *rounds, goal=GOALS.get(what))
        print(f"{what:10s}{mine:10.3f}{theirs:10.3f}{mine / theirs:10.2f}")
    figures.note("checkpoint: load", "reading the bytes", "s", found["weft load"], found["raw"], goal=1.2)
    print(f"{'raw':10s}{medians['raw']:10.3f}{'load to raw':>20s}{medians['weft load'] / medians['raw']:10.2f}")


if __name__ == "__main__":
    main()
