"""Weights split over the batch's axis on two Gloo ranks of one card: gathered while the layer before computes.

A stack of linear layers is trained with gathers ahead and without: the same weights to the bit, all gathers but the
first ones ahead of their use, no `record_stream`, and the memory of a step beside what `weft.plan` says of it.
"""

import torch
import weft
from common import device_option, require, row, timing
from torch import nn

RANKS, LAYERS = 2, 6
SIZES = {"cpu": (240, 1500), "cuda": (2048, 8192)}  # width, rows: so many that weights are gathered, not activations
LAYOUTS = {".*": ("data", None)}
MIB = 2**20


class Stack(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Training:
    def __init__(self, device: str) -> None:
        width, rows = SIZES[device]
        torch.manual_seed(0)
        mesh = weft.DeviceMesh((RANKS,), ("data",), device_type=device)
        self.model = weft.distribute_module(Stack(width).to(device), LAYOUTS, mesh=mesh)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        x = torch.randn(rows, width, generator=torch.Generator().manual_seed(1)).to(device)
        self.x = weft.distribute_tensor(x, ("data", None), mesh)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(self.x).square().mean().backward()
        self.optimizer.step()

    @torch.no_grad()
    def on_two_streams(self) -> bool:
        """Whether forward gives the same where its second half has a stream of its own."""
        want = self.model(self.x)
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        same = True
        for _ in range(10):
            y = self.x
            for layer in self.model.layers[: LAYERS // 2]:
                y = torch.tanh(layer(y))
            side.wait_stream(here)
            with torch.cuda.stream(side):
                for layer in self.model.layers[LAYERS // 2 :]:
                    y = torch.tanh(layer(y))
            here.wait_stream(side)
            same = torch.equal(y, want) and same
        return same

    def weights(self) -> torch.Tensor:
        return torch.cat([weft.full_tensor(p.detach()).flatten() for p in self.model.parameters()])


def memory(training: Training) -> tuple[int, int]:
    """What a step has at most: bytes that live, and that the allocator has reserved."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    training.step()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def profiled(training: Training) -> tuple[int, int]:
    """Of a step: how often a stream was recorded, and on how many streams the card worked."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        training.step()
        torch.cuda.synchronize()
    events = profiler.events()
    streams = {e.device_resource_id for e in events if e.device_type == torch.autograd.DeviceType.CUDA}
    return sum("record_stream" in e.name for e in events), len(streams)


def rank(device: str) -> dict:
    budget = 2 * SIZES[device][0] ** 2 * 4  # two buckets of one layer
    found: dict = {}
    values = {}
    for name, bytes_ahead in (("ahead", budget), ("on demand", 0)):
        with weft.overlap(bytes_ahead):
            training = Training(device)
            for _ in range(3):
                training.step()
            with weft.trace() as trace:
                training.step()
            gathers = [r for r in trace.rows if r.kind == "all_gather"]
            found[name] = {"gathers": len(gathers), "ahead": sum(r.op == "gather" for r in gathers)}
            if device == "cuda":
                found[name]["memory"] = memory(training)
                found[name]["profile"] = profiled(training)
                found[name]["streams"] = training.on_two_streams()
            values[name] = training.weights().cpu()  # the next one has the card to itself
            del training
    found["equal"] = torch.equal(*values.values())
    return found


def planned(device: str) -> int:
    """Bytes that a step has at most, by the plan."""
    width, rows = SIZES[device]
    with weft.overlap(2 * width**2 * 4):
        return weft.plan(
            lambda: Stack(width),
            {"data": RANKS},
            LAYOUTS,
            torch.empty(rows, width),
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        ).peak


def main(device: str) -> None:
    found = timing.gloo_ranks(RANKS, rank, device)
    require(found["equal"], "other weights with gathers ahead than without")
    ahead = found["ahead"]
    # Forward gathers all ahead but the first; backward finds the last one, and the first layer's needs no weight.
    require(ahead["ahead"] == 2 * LAYERS - 3, f"{ahead['ahead']} of {ahead['gathers']} gathers ahead: {found}")
    row(f"{LAYERS} layers, forward and backward", f"{ahead['ahead']} of {ahead['gathers']} gathers ahead of their use")
    if device == "cpu":
        return
    plan = planned(device)
    for name in ("on demand", "ahead"):
        (live, reserved), (recorded, streams) = found[name]["memory"], found[name]["profile"]
        require(recorded == 0, f"{recorded} calls of record_stream")
        require(found[name]["streams"], f"gathers {name}: other numbers on two streams than on one")
        against = f", {live / plan:.2f} of its plan" if name == "ahead" else ""
        row(
            f"gathers {name}",
            f"{live / MIB:.0f} MiB live{against}, {reserved / MIB:.0f} MiB reserved, work on {streams} streams",
        )


if __name__ == "__main__":
    main(device_option(__doc__))
