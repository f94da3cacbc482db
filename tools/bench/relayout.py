"""Host cost of laying a tensor out anew, beside DTensor: inside an op that needs it, and asked for.

    python tools/bench/relayout.py [--repeats N] [--size N]

One process stands for one of two ranks, with torch's fake group: collectives return at once, so the figures are the
host's work alone. They are microseconds per call, the best of the repeats, with all candidates taking their turns.

First ops whose operand has to be laid out anew; `adds` is what they take longer than the same op where none has to.
Then explicit redistributions. `c10d` is the collective alone, called by hand; nothing is subtracted for it.
"""

import argparse
import statistics
from collections.abc import Callable
from types import SimpleNamespace

import figures
import timing
import torch
import torch.distributed as dist
import weft
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, init_device_mesh

RANKS = 2
# DTensor's placements for the one mesh axis: before and after, and the collective between them
CHANGES = {
    "slice": (Replicate(), Shard(0), None),
    "all_gather": (Shard(0), Replicate(), "all_gather"),
    "all_gather dim 1": (Shard(1), Replicate(), "all_gather"),
    "all_reduce": (Partial(), Replicate(), "all_reduce"),
    "reduce_scatter": (Partial(), Shard(0), "reduce_scatter"),
    "all_to_all": (Shard(0), Shard(1), "all_to_all"),
}
# An op on x (rows split) that needs nothing, the same op with an operand laid out anew, and the collective for it
OPS: dict[str, tuple[Callable, Callable, str | None]] = {
    "x + y, y sliced": (lambda t: t.x + t.rows, lambda t: t.x + t.whole, None),
    "x + y, all_to_all": (lambda t: t.x + t.rows, lambda t: t.x + t.columns, "all_to_all"),
    "x.mm(y), all_gather": (lambda t: t.x.mm(t.whole), lambda t: t.x.mm(t.rows), "all_gather"),
    "x.mm(y).relu(), all_reduce": (
        lambda t: t.whole.mm(t.whole).relu(),
        lambda t: t.columns.mm(t.rows).relu(),
        "all_reduce",
    ),
}


def by_hand(size: int) -> dict[str | None, Callable[[], object]]:
    """The collectives without any library, for a square tensor of that size."""
    whole, part = torch.empty(size * size), torch.empty(size * size // RANKS)
    return {
        None: lambda: None,
        "all_gather": lambda: dist.all_gather_into_tensor(whole, part),
        "all_reduce": lambda: dist.all_reduce(whole),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
        "all_to_all": lambda: dist.all_to_all_single(torch.empty_like(part), part),
    }


def line(name: str, us: dict[str, float]) -> float:
    """Prints the row of a table; returns how many times more DTensor adds."""
    ours, theirs = us["weft"] - us["weft without"], us["dtensor"] - us["dtensor without"]
    ratio = theirs / max(ours, 0.01)
    figures.note(name, "DTensor", "us", ours, theirs, headline=False)
    columns = (f"{us[who]:9.2f}" for who in ("c10d", "weft", "dtensor"))
    print(f"{name:28s}{''.join(columns)}{ours:11.2f}{theirs:14.2f}{ratio:8.1f}")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="interleaved rounds (default 30)")
    parser.add_argument("--size", type=int, default=8, help="of the square tensors, even (default 8)")
    options = parser.parse_args()
    timing.fake_ranks(RANKS)
    torch.manual_seed(0)
    size = options.size
    device_mesh = init_device_mesh("cpu", (RANKS,), mesh_dim_names=("model",))
    mesh = weft.DeviceMesh.from_torch(device_mesh)
    collectives = by_hand(size)

    def lay(placement) -> tuple[torch.Tensor, torch.Tensor]:
        """A tensor with that placement, as Weft's and as DTensor's."""
        shape = [size, size]
        if placement.is_shard():
            shape[placement.dim] //= RANKS
        local = torch.randn(shape)
        layout = weft.TensorLayout.from_placements([placement], mesh, 2)
        theirs = DTensor.from_local(local, device_mesh, [placement], run_check=False)
        return weft.from_local(local, layout, (size, size)), theirs

    def measure(name: str, fns: dict[str, Callable[[], object]], collective: str | None) -> float:
        fns["c10d"] = collectives[collective]
        return line(name, timing.interleaved(fns, options.repeats, 100))

    heading = f"{'c10d':>9s}{'weft':>9s}{'dtensor':>9s}{'weft adds':>11s}{'dtensor adds':>14s}{'ratio':>8s}"
    placements = {"x": Shard(0), "rows": Shard(0), "columns": Shard(1), "whole": Replicate()}
    operands = {name: lay(placement) for name, placement in placements.items()}
    ours = SimpleNamespace(**{name: pair[0] for name, pair in operands.items()})
    theirs = SimpleNamespace(**{name: pair[1] for name, pair in operands.items()})
    print(f"{'in an op':28s}{heading}")
    ratios = []
    for name, (without, op, collective) in OPS.items():
        fns = {
            "weft without": lambda f=without: f(ours),
            "weft": lambda f=op: f(ours),
            "dtensor without": lambda f=without: f(theirs),
            "dtensor": lambda f=op: f(theirs),
        }
        ratios.append(measure(name, fns, collective))
    print(f"{'asked for':28s}{heading}")
    for name, (before, after, collective) in CHANGES.items():
        x, y = lay(before)
        layout = weft.TensorLayout.from_placements([after], mesh, 2)
        fns = {
            "weft without": lambda: None,
            "weft": lambda x=x, layout=layout: weft.distribute_tensor(x, layout),
            "dtensor without": lambda: None,
            "dtensor": lambda y=y, after=after: y.redistribute(placements=[after]),
        }
        ratios.append(measure(name, fns, collective))
    mean = statistics.geometric_mean(ratios)
    figures.note("host's work of a redistribution, geometric mean", "DTensor", "of DTensor's", 1 / mean, 1.0)
    print(f"what weft adds is {mean:.1f} times smaller than what dtensor adds (geometric mean)")


if __name__ == "__main__":
    main()
