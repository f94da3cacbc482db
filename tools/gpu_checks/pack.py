"""Packing for redistribution against a plain copy of the same bytes (memcpy).

One process stands for one of two ranks, with torch's fake group, whose collectives do no more than copy on the card.
Of a redistribution's time on the card Weft's own kernel is told apart by its name. Whether the packed data is right is
redistribute.py's business.
"""

import time
from collections.abc import Callable

import torch
import weft
from common import device_option, require, row, timing
from torch.distributed.device_mesh import init_device_mesh

# Layouts over the one axis: before, after, pending sum before; and what has to be copied
CHANGES = (
    ((None, "a", None), (None, None, None), False, "all-gather of the middle dimension: unpack"),
    ((None, None, None), (None, "a", None), True, "reduce-scatter of the middle dimension: pack"),
    (("a", None, None), (None, "a", None), False, "all-to-all, first to middle: pack"),
    ((None, "a", None), (None, None, "a"), False, "all-to-all, middle to last: pack and unpack"),
)


def seconds(device: str, fn: Callable[[], object]) -> float:
    """How long one call takes, the card's work included: the best of ten."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    best = float("inf")
    for _ in range(10):
        wait()
        start = time.perf_counter()
        fn()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def on_card(fn: Callable[[], object], kernel: str) -> tuple[float, int]:
    """Seconds that runs of that kernel take on the card in a call, the least of ten; and how many there are."""
    runs: list[list[float]] = []
    for _ in range(10):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            fn()
            torch.cuda.synchronize()
        runs.append([e.time_range.elapsed_us() / 1e6 for e in profiler.events() if kernel in e.name])
    return min(map(sum, runs)), len(runs[0])


def main(device: str) -> None:
    timing.fake_ranks(2)
    mesh = weft.DeviceMesh.from_torch(init_device_mesh(device, (2,), mesh_dim_names=("a",)))
    rows = 512 if device == "cuda" else 16  # 256 MiB on a card, well beyond its cache
    for dtype in (torch.float32, torch.bfloat16):
        full = torch.empty(rows, 512, 1024 // dtype.itemsize, dtype=dtype, device=device).fill_(1)
        for before, after, pending, what in CHANGES:
            local = weft.local_tensor(weft.distribute_tensor(full, before, mesh)).clone()
            x = weft.from_local(local, weft.TensorLayout(before, mesh, {"a": "sum"} if pending else None), full.shape)
            layout = weft.TensorLayout(after, mesh)
            larger = max((local, weft.local_tensor(weft.distribute_tensor(x, layout))), key=torch.numel)
            copy = torch.empty_like(larger)
            memcpy = seconds(device, lambda copy=copy, larger=larger: copy.copy_(larger))
            taken = seconds(device, lambda x=x, layout=layout: weft.distribute_tensor(x, layout))
            size = larger.numel() * dtype.itemsize
            rates = f"{size / taken / 1e9:.1f} GB/s, memcpy {size / memcpy / 1e9:.1f} GB/s"
            name = f"{what}, {str(dtype)[6:]}, {size / 2**20:.0f} MiB"
            row(name, f"{rates}, time {taken / memcpy:.2f} x memcpy")
            if device == "cuda":
                packing, copies = on_card(lambda x=x, layout=layout: weft.distribute_tensor(x, layout), "copy_each")
                require(copies > 0, f"{name}: not packed by weft's kernel")
                plain, _ = on_card(lambda copy=copy, larger=larger: copy.copy_(larger), "Memcpy DtoD")
                row(name, f"weft's kernel {packing / copies / plain:.2f} x a device memcpy of these bytes (goal 1.15)")


if __name__ == "__main__":
    main(device_option(__doc__))
