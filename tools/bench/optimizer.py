"""Optimizers and gradient clipping on many small parameters, Weft beside plain torch and DTensor, one rank, in turns.

    python tools/bench/optimizer.py [--rounds N] [--parameters N]

Prints microseconds per call (medians of the rounds) and what a call takes as a part of plain torch's. The parameters
are 64x64, as small as a model's are where an optimizer's work for each of them shows.
"""

import argparse
import statistics
from collections.abc import Callable

import figures
import timing
import torch
import torch.distributed as dist
import weft

GOALS = {"AdamW, tensor by tensor": 1.15, "clip_grad_norm_": 1.1}
NUMBER = 5  # calls a turn


def cases(lay: Callable[[torch.Tensor], torch.Tensor], parameters: int) -> dict[str, Callable[[], object]]:
    def made() -> list[torch.Tensor]:
        torch.manual_seed(0)
        all_of_it = [lay(torch.randn(64, 64)).requires_grad_() for _ in range(parameters)]
        for p in all_of_it:
            p.grad = lay(torch.randn(64, 64))
        return all_of_it

    clipped = made()
    return {
        "AdamW, foreach": torch.optim.AdamW(made(), lr=1e-4, foreach=True).step,
        "AdamW, fused": torch.optim.AdamW(made(), lr=1e-4, fused=True).step,
        "AdamW, tensor by tensor": torch.optim.AdamW(made(), lr=1e-4, foreach=False).step,
        "clip_grad_norm_": lambda: torch.nn.utils.clip_grad_norm_(clipped, 1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="in each of which all take their turn (default 25)")
    parser.add_argument("--parameters", type=int, default=100, help="how many (default 100)")
    options = parser.parse_args()
    timing.one_rank()
    mesh = weft.DeviceMesh((1,), ("data",), device_type="cpu")

    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    device_mesh = init_device_mesh("cpu", (1,))
    candidates = {
        "plain": lambda t: t.clone(),
        "weft": lambda t: weft.distribute_tensor(t, ("data", None), mesh),
        "dtensor": lambda t: distribute_tensor(t, device_mesh, [Shard(0)]),
    }
    calls = {who: cases(lay, options.parameters) for who, lay in candidates.items()}
    print(f"{'':26s}{'plain':>9s}{'weft':>9s}{'dtensor':>9s}  weft, in parts of plain")
    for name in calls["plain"]:
        for who in calls:
            timing.per_call(calls[who][name], 3)
        turns = {who: (lambda fn=calls[who][name]: timing.per_call(fn, NUMBER)) for who in calls}
        us = timing.in_turns(turns, options.rounds)
        medians = "".join(f"{statistics.median(us[who]):9.0f}" for who in us)
        ratio = timing.median_between([a / b for a, b in zip(us["weft"], us["plain"], strict=True)])
        print(f"{name:26s}{medians}  {ratio}")
        what = f"{name}, {options.parameters} parameters"
        figures.note(what, "plain torch", "us", us["weft"], us["plain"], goal=GOALS.get(name))
        figures.note(what, "DTensor", "us", us["weft"], us["dtensor"], headline=False)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
