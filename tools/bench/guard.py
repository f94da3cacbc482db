"""What it costs that ranks which slip are found out: steps with the guard on beside the same steps with it off.

    python tools/bench/guard.py [--rounds N] [--only REGEX] [--detail]

On two Gloo ranks, in one process each, taking turns. The guard gives every value an identity and every message the tag
of its collective; it is always on, and can be switched off only here. Printed are rank 0's median milliseconds of a
step and the median of the rounds' ratios, in brackets where it lies at 95 % confidence; target: at most 1.05.
`--detail` instead measures full_tensor of 1,024 floats with and without c10d's TORCH_DISTRIBUTED_DEBUG=DETAIL, in
processes of their own.
"""

import argparse
import os
import re
import statistics
import time
from collections.abc import Callable

import figures
import megatron_block
import timing
import torch
import torch.distributed as dist
import weft
from torch import nn

RANKS = 2
Step = Callable[[], object]


def megatron(d: int) -> Step:
    """A Llama block's forward and backward, split over the model axis."""
    cos, sin = megatron_block.rotary(128)
    block = megatron_block.blocks(d)[2]
    x = torch.randn(8, 128, d, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        block.zero_grad()
        block(x.detach().requires_grad_(), cos, sin).sum().backward()

    return step


def llama() -> Step:
    """A stock Llama's whole train step: batch, forward, backward, clipping, AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=128, intermediate_size=344, num_hidden_layers=4, num_attention_heads=4, vocab_size=256
    )
    model = LlamaForCausalLM(config)
    mesh = weft.DeviceMesh((RANKS,), ("model",), device_type="cpu")
    layouts = weft.LayoutMap(mesh)
    layouts[r".*/(q|k|v|gate|up)_proj/weight"] = ("model", None)
    layouts[r".*/(o|down)_proj/weight"] = (None, "model")
    weft.distribute_module(model, layouts)
    batch = torch.randint(0, 256, (8, 64))
    return train(model, lambda: model(input_ids=batch, labels=batch).loss)


def data_parallel() -> Step:
    """A transformer encoder's train step, each rank with half of the batch."""
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.Embedding(256, 64), nn.TransformerEncoder(layer, 2), nn.Linear(64, 256))
    mesh = weft.DeviceMesh((RANKS,), ("data",), device_type="cpu")
    weft.distribute_module(model, mesh=mesh)
    batch = torch.randint(0, 256, (32, 32))

    def loss() -> torch.Tensor:
        tokens = weft.shard_batch(batch, mesh, "data")
        return nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())

    return train(model, loss)


def train(model: nn.Module, loss: Callable[[], torch.Tensor]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def whole() -> Step:
    """full_tensor of 1,024 floats."""
    mesh = weft.DeviceMesh((RANKS,), ("a",), device_type="cpu")
    x = weft.distribute_tensor(torch.ones(1024), ("a",), mesh)
    return lambda: [weft.full_tensor(x) for _ in range(20)]


WORK = {
    "Megatron block, d=64": lambda: megatron(64),
    "Megatron block, d=512": lambda: megatron(512),
    "Llama train step": llama,
    "data-parallel transformer": data_parallel,
    "20 x full_tensor of 1,024 floats": whole,
}


def rank(options: argparse.Namespace) -> None:
    first = dist.get_rank() == 0
    for name, make in WORK.items():
        if not re.search(options.only, name):
            continue
        torch.manual_seed(0)
        step = make()
        ms: dict[bool, list[float]] = {True: [], False: []}
        for round_ in range(-2, options.rounds):
            for on in (True, False) if round_ % 2 else (False, True):
                torch.ops.weft._guard(on)
                dist.barrier()
                start = time.perf_counter()
                for _ in range(options.steps):
                    step()
                if round_ >= 0:
                    ms[on].append((time.perf_counter() - start) * 1e3 / options.steps)
        torch.ops.weft._guard(True)
        if first:
            figures.note(
                name, "without the guard", "ms", ms[True], ms[False], goal=1.05, headline="full_tensor" not in name
            )
            ratios = [on / off for on, off in zip(ms[True], ms[False], strict=True)]
            print(
                f"{name:34s} on {statistics.median(ms[True]):8.2f} ms   off {statistics.median(ms[False]):8.2f} ms   "
                f"{timing.median_between(ratios)}",
                flush=True,
            )


def detail(options: argparse.Namespace) -> float:
    step = whole()
    return min(timing.per_call(step, 20) for _ in range(options.rounds)) / 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds (default 40)")
    parser.add_argument("--steps", type=int, default=5, help="of each candidate in a round (default 5)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only work whose name matches")
    parser.add_argument("--detail", action="store_true", help="beside TORCH_DISTRIBUTED_DEBUG=DETAIL")
    options = parser.parse_args()
    if not options.detail:
        timing.gloo_ranks(RANKS, rank, options)
        return
    for level in ("OFF", "DETAIL"):
        os.environ["TORCH_DISTRIBUTED_DEBUG"] = level
        print(f"full_tensor of 1,024 floats, {level:6s} {timing.gloo_ranks(RANKS, detail, options):8.1f} us (best)")


if __name__ == "__main__":
    main()
