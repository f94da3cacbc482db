"""What `weft doctor` runs on each of two ranks: results are compared with plain torch, the first rank tells times."""

from __future__ import annotations

import json
import time

import torch
import torch.distributed as dist

import weft

_REPEATS = 20


def main() -> None:
    start = time.perf_counter()
    weft.initialize(backend="gloo", timeout=30)
    mesh = weft.DeviceMesh((weft.world_size(),), ("model",), device_type="cpu")
    said = {"two ranks met": f"{time.perf_counter() - start:.2f} s"}
    _check_training(mesh)
    said["forward and backward"] = "as plain torch's"
    for size in (1 << 10, 1 << 20, 16 << 20):
        seconds = _seconds_of_sum(torch.ones(weft.world_size(), size // 4), mesh)
        said[f"sum of {size >> 10} KiB"] = f"{seconds * 1e3:.2f} ms"
    dist.barrier()
    if weft.rank() == 0:
        print(json.dumps(said), flush=True)
    dist.destroy_process_group()


def _check_training(mesh: weft.DeviceMesh) -> None:
    nets, losses = [], []
    for layouts in (None, {"0/weight": ("model", None), "2/weight": (None, "model")}):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(7, 9), torch.nn.GELU(), torch.nn.Linear(9, 5))
        x = torch.randn(6, 7)
        if layouts is not None:
            weft.distribute_module(net, layouts, mesh=mesh)
            x = weft.shard_batch(x, mesh, "model")
        loss = net(x).square().mean()
        loss.backward()
        losses.append(loss.item())
        nets.append([weft.full_tensor(p.grad) for p in net.parameters() if p.grad is not None])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(nets[1], nets[0])


def _seconds_of_sum(rows: torch.Tensor, mesh: weft.DeviceMesh) -> float:
    """How long it takes to sum the rows, one on each rank: the median of some runs."""
    x = weft.distribute_tensor(rows, ("model", None), mesh)
    seconds = []
    for _ in range(_REPEATS):
        dist.barrier()
        start = time.perf_counter()
        weft.full_tensor(x.sum(0))
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    main()
