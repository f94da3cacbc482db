"""A Llama block, forward and backward, on two Gloo ranks: Weft's column and row plan beside Megatron's by hand.

    python tools/bench/megatron_block.py [--repeats N] [--sizes 64,256,512] [--batch N] [--length N]

Both run the very same block. By hand each rank has half of the heads and of the feed-forward, and two autograd
functions of plain c10d calls: `Copy` (all-reduce in backward) before the column splits, `Reduce` (all-reduce in
forward) after the row splits. Under Weft the block is as it is on one rank and only its weights are laid out.
Candidates take their turns in the same processes; milliseconds are rank 0's median and, in brackets, best. Exit code 1
where the numbers differ from those of the whole block or Weft needs other than two all-reduces each way.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import figures
import timing
import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft
from torch import nn

RANKS, HEAD = 2, 16
COLUMN, ROW = ("q", "k", "v", "gate", "up"), ("o", "down")
TARGET = {64: 2.0, 256: 1.2, 512: 1.05}  # ratios to reach


class Copy(torch.autograd.Function):
    """Megatron's f: every rank goes on with the same value, so their gradients add up."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient


class Reduce(torch.autograd.Function):
    """Megatron's g: the ranks' parts of a sum."""

    @staticmethod
    def forward(ctx, x):
        dist.all_reduce(x)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


class Norm(nn.Module):
    """RMS norm as Llama writes it."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Block(nn.Module):
    """A Llama decoder layer. `parts` is by how many ranks the heads and the feed-forward are divided by hand."""

    def __init__(self, d: int, parts: int = 1, copy: Callable = identity, reduce: Callable = identity) -> None:
        super().__init__()
        inner, hidden = d // parts, d * 11 // 4 // 16 * 16 // parts
        for name in ("q", "k", "v"):
            setattr(self, name, nn.Linear(d, inner, bias=False))
        self.o = nn.Linear(inner, d, bias=False)
        self.gate, self.up = nn.Linear(d, hidden, bias=False), nn.Linear(d, hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)
        self.norm1, self.norm2 = Norm(d), Norm(d)
        self.copy, self.reduce = copy, reduce

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], -1, HEAD).transpose(1, 2)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        h = self.copy(self.norm1(x))
        q, k, v = self.heads(self.q(h)), self.heads(self.k(h)), self.heads(self.v(h))
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)
        x = x + self.reduce(self.o(h))
        h = self.copy(self.norm2(x))
        return x + self.reduce(self.down(F.silu(self.gate(h)) * self.up(h)))


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def rotary(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    frequency = 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
    angle = torch.outer(torch.arange(length).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def part_of(name: str, weight: torch.Tensor) -> torch.Tensor:
    """What this rank has of a weight of the whole block, by hand."""
    if name.split(".")[0] in COLUMN:
        return weight.chunk(RANKS, 0)[dist.get_rank()]
    return weight.chunk(RANKS, 1)[dist.get_rank()] if name.split(".")[0] in ROW else weight


def blocks(d: int) -> tuple[Block, Block, Block]:
    """The whole block, that of Megatron and that of Weft, with the same weights."""
    torch.manual_seed(0)
    plain, ours = Block(d), Block(d)
    ours.load_state_dict(plain.state_dict())
    megatron = Block(d, RANKS, Copy.apply, Reduce.apply)
    megatron.load_state_dict({name: part_of(name, w) for name, w in plain.state_dict().items()})
    layouts = weft.LayoutMap(weft.DeviceMesh((RANKS,), ("model",), device_type="cpu"))
    layouts[f"({'|'.join(COLUMN)})/weight"] = ("model", None)
    layouts[f"({'|'.join(ROW)})/weight"] = (None, "model")
    weft.distribute_module(ours, layouts)
    return plain, megatron, ours


def check(plain: Block, megatron: Block, ours: Block, run: Callable) -> str:
    """What is wrong, in words: numbers against the whole block, collectives by the trace."""
    run(plain)()
    run(megatron)()
    with weft.trace() as forward:
        y = run(ours, backward=False)()
    with weft.trace() as backward:
        y.sum().backward()
    faults = []
    for way, rows in (("forward", forward), ("backward", backward)):
        if rows.count("all_reduce") != 2 or len(rows) != 2:
            faults.append(f"{way} has other collectives than two all-reduces:\n{rows}")
    for name, p in plain.named_parameters():
        for who, got, want in (
            ("weft", weft.full_tensor(ours.get_parameter(name).grad), p.grad),
            ("by hand", megatron.get_parameter(name).grad, part_of(name, p.grad)),
        ):
            error = ((got - want).norm() / want.norm()).item()
            if not error < 1e-4:
                faults.append(f"{who}: the gradient of {name} is off by {error:.2g}")
    return "\n".join(faults)


def rank(options: argparse.Namespace) -> bool:
    """Measures and, on rank 0, prints; returns whether all was right."""
    first = dist.get_rank() == 0
    cos, sin = rotary(options.length)
    if first:
        print(f"{options.batch} x {options.length} tokens; milliseconds, median (best)")
        print(f"{'d':>5s}{'whole block':>18s}{'by hand':>18s}{'weft':>18s}{'weft/by hand':>14s}{'target':>8s}")
    right = True
    for d in map(int, options.sizes.split(",")):
        x = torch.randn(options.batch, options.length, d, generator=torch.Generator().manual_seed(1))

        def run(block: Block, backward: bool = True, x: torch.Tensor = x) -> Callable[[], torch.Tensor]:
            def step() -> torch.Tensor:
                block.zero_grad()
                y = block(x.detach().requires_grad_(), cos, sin)
                if backward:
                    y.sum().backward()
                return y

            return step

        plain, megatron, ours = blocks(d)
        fault = check(plain, megatron, ours, run)
        fns = {"whole": run(plain), "hand": run(megatron), "weft": run(ours)}
        ms: dict[str, list[float]] = {who: [] for who in fns}
        for repeat in range(-3, options.repeats):
            for who, fn in fns.items():
                dist.barrier()
                start = time.perf_counter()
                fn()
                if repeat >= 0:
                    ms[who].append((time.perf_counter() - start) * 1e3)
        if first:
            figures.note(f"Llama block, d={d}", "Megatron by hand", "ms", ms["weft"], ms["hand"], goal=TARGET.get(d))
            columns = (f"{statistics.median(v):10.2f} ({min(v):5.2f})" for v in ms.values())
            # Round by round: what else the machine does moves both of a round.
            ratio = statistics.median(w / h for w, h in zip(ms["weft"], ms["hand"], strict=True))
            print(f"{d:5d}{''.join(columns)}{ratio:14.2f}{TARGET.get(d, ''):>8}", fault, flush=True)
        right = right and not fault
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="interleaved rounds (default 40)")
    parser.add_argument("--sizes", default="64,256,512", help="of d, multiples of 32 (default 64,256,512)")
    parser.add_argument("--batch", type=int, default=8, help="sequences (default 8)")
    parser.add_argument("--length", type=int, default=128, help="tokens of each (default 128)")
    sys.exit(0 if timing.gloo_ranks(RANKS, rank, parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
