"""Host cost of an op above plain torch, Weft beside DTensor, one rank, interleaved in one process.

    python tools/bench/dispatch.py [--repeats N] [--device cuda]

Prints microseconds per call (best of the repeats), what Weft and DTensor add to the plain op, and the geometric mean of
the ratios of what they add. Absolute times move with the machine; the ratios are from one run. On a GPU the times are
the host's: kernels run behind it.
"""

import argparse
import statistics
from collections.abc import Callable

import figures
import timing
import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft


def cases(lay: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Callable[[], object]]:
    """One call of each op on 4x4 tensors made by `lay`."""
    torch.manual_seed(0)
    x, y = lay(torch.randn(4, 4)), lay(torch.randn(4, 4))
    weight = lay(torch.ones(4))
    a, b = lay(torch.randn(4, 4)).requires_grad_(), lay(torch.randn(4, 4)).requires_grad_()
    parameters = [lay(torch.randn(4, 4)).requires_grad_() for _ in range(8)]
    for p in parameters:
        p.grad = lay(torch.randn(4, 4))
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, foreach=True)

    def backward() -> None:
        (a * b).sum().backward()
        a.grad = b.grad = None

    return {
        "add": lambda: x + y,
        "add scalar": lambda: x + 1.0,
        "mm": lambda: x.mm(y),
        "relu": lambda: F.relu(x),
        "view": lambda: x.view(4, 2, 2),
        "t": lambda: x.t(),
        "detach": lambda: x.detach(),
        "add_": lambda: x.add_(y),
        "sum": lambda: x.sum(),
        "softmax": lambda: F.softmax(x, -1),
        "layer_norm": lambda: F.layer_norm(x, (4,), weight, weight),
        "cat": lambda: torch.cat([x, y]),
        "forward+backward": backward,
        "AdamW step": optimizer.step,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="interleaved rounds (default 15)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the tensors are (default cpu)")
    options = parser.parse_args()
    timing.one_rank(options.device)
    mesh = weft.DeviceMesh((1,), ("data",), device_type=options.device)

    from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

    device_mesh = init_device_mesh(options.device, (1,))
    candidates = {
        "plain": lambda t: t.clone(),
        "weft": lambda t: weft.distribute_tensor(t, ("data",) + (None,) * (t.dim() - 1), mesh),
        "dtensor": lambda t: distribute_tensor(t, device_mesh, [Shard(0) if t.dim() > 1 else Replicate()]),
    }
    calls = {who: cases(lambda t, lay=lay: lay(t.to(options.device))) for who, lay in candidates.items()}
    best: dict[str, dict[str, float]] = {}
    for op in calls["plain"]:
        number = 20 if op in ("forward+backward", "AdamW step") else 200
        best[op] = timing.interleaved({who: calls[who][op] for who in calls}, options.repeats, number)
    print(f"{'op':18s}{'plain':>9s}{'weft':>9s}{'dtensor':>9s}{'weft adds':>11s}{'dtensor adds':>13s}{'ratio':>8s}")
    ratios = []
    for op, us in best.items():
        ours, theirs = us["weft"] - us["plain"], us["dtensor"] - us["plain"]
        ratios.append(theirs / max(ours, 0.01))
        figures.note(f"{op}, above plain torch's {us['plain']:.2f}", "DTensor", "us", ours, theirs, headline=False)
        print(
            f"{op:18s}{us['plain']:9.2f}{us['weft']:9.2f}{us['dtensor']:9.2f}{ours:11.2f}{theirs:13.2f}{ratios[-1]:8.1f}"
        )
    mean = statistics.geometric_mean(ratios)
    print(f"what weft adds is {mean:.1f} times smaller than what dtensor adds (geometric mean)")
    figures.note("an op above plain torch, geometric mean", "DTensor", "of DTensor's", 1 / mean, 1.0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
