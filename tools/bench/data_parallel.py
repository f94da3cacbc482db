"""Train steps of a small Llama with a split batch: Weft beside torch's own FullyShardedDataParallel (FSDP2) and
DistributedDataParallel (DDP).

    python tools/bench/data_parallel.py [--ranks 2,4] [--models 256x64,512x64,192x768] [--rounds N] [--profile]

Each model `d x tokens` has hidden size d, 4 layers, and 2 sequences of that many tokens a rank. "split": the weights
are split over the batch's axis, as `fully_shard` of each layer splits them; "whole": they are whole on every rank. A
step is forward, backward and AdamW. All candidates take turns in the same processes, each round in an order of its own;
the ratios are of steps of the same round, their median and the interval that it lies in: of time, and of the processor
time of rank 0 alone, which a busy machine moves less. Losses are compared before: exit code 1 where they part.

The loss is the mean over the targets of all ranks, whose number Weft asks the others for, as ranks may ignore more of
them or fewer. DDP takes the mean of the ranks' means, which is the same here, and asks nobody; "DDP, counted" is DDP
made to give the right loss of any batch, as trainers do that hand the model that number (`num_items_in_batch`).
"""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import figures
import timing
import torch
import torch.distributed as dist
import weft
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaForCausalLM

sys.path.append(str(Path(__file__).resolve().parent.parent / "demo_common"))
import small_llama  # noqa: E402

LAYERS, SEQUENCES = 4, 2
PEERS = (
    ("weft split", "FSDP2"),
    ("weft split, overlap(0)", "FSDP2"),
    ("weft whole", "DDP"),
    ("weft whole", "DDP, counted"),
)
GOALS = {("weft split", 256): 0.9, ("weft split", 512): 0.75, ("weft split", 192): 0.9} | {
    ("weft whole", d): 1.0 for d in (192, 256, 512)
}
Step = Callable[[], torch.Tensor]


def make_model(d: int, tokens: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    options = argparse.Namespace(hidden=d, layers=LAYERS)
    return LlamaForCausalLM(small_llama.config(options, heads=d // 32, positions=tokens))


def step_of(model: torch.nn.Module, batch: dict[str, torch.Tensor], counted: bool = False) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def targets_a_rank() -> torch.Tensor:
        count = batch["labels"][:, 1:].ne(-100).sum()
        dist.all_reduce(count)
        return count / dist.get_world_size()

    def step() -> torch.Tensor:
        items = {"num_items_in_batch": targets_a_rank()} if counted else {}
        loss = model(**batch, **items).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def steps(d: int, tokens: int) -> dict[str, Step]:
    """A training step of each candidate, with the same weights and batch."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    mesh = weft.DeviceMesh((ranks,), ("data",), device_type="cpu")
    ids = torch.randint(0, 256, (SEQUENCES * ranks, tokens), generator=torch.Generator().manual_seed(1))
    mine = ids[SEQUENCES * rank : SEQUENCES * (rank + 1)]
    whole = weft.shard_batch({"input_ids": ids, "labels": ids}, mesh, "data")
    part = {"input_ids": mine, "labels": mine}

    def split() -> Step:
        model = make_model(d, tokens)
        return step_of(weft.distribute_module(model, weft.layouts.fsdp(model, mesh, "data")), whole)

    fsdp = make_model(d, tokens)
    for layer in fsdp.model.layers:
        fully_shard(layer)
    fully_shard(fsdp)
    without = split()

    def without_overlap() -> torch.Tensor:
        with weft.overlap(0):
            return without()

    return {
        "weft split": split(),
        "weft split, overlap(0)": without_overlap,
        "FSDP2": step_of(fsdp, part),
        "weft whole": step_of(weft.distribute_module(make_model(d, tokens), {}, mesh=mesh), whole),
        "DDP": step_of(DistributedDataParallel(make_model(d, tokens)), part),
        "DDP, counted": step_of(DistributedDataParallel(make_model(d, tokens)), part, counted=True),
    }


def mean_loss(loss: torch.Tensor) -> float:
    """The loss over all ranks: torch's own candidates have that of their part."""
    if weft.is_sharded(loss):
        return loss.item()
    loss = loss.detach().clone()
    dist.all_reduce(loss)
    return loss.item() / dist.get_world_size()


def measure(d: int, tokens: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]] | str:
    """Milliseconds of each candidate's steps, and of this processor's; a text where the losses part."""
    candidates = steps(d, tokens)
    losses = {who: [mean_loss(step()) for _ in range(4)] for who, step in candidates.items()}
    first = losses["DDP"]
    for who, found in losses.items():
        if any(abs(a - b) > 1e-3 for a, b in zip(found, first, strict=True)):
            return f"{d}x{tokens}: the losses of {who} are {found}, of DDP {first}"
    if dist.get_rank() == 0:
        for who in ("weft split", "weft split, overlap(0)", "weft whole"):
            with weft.trace() as trace:
                candidates[who]()
            kinds = Counter(row.kind for row in trace.rows)
            print(f"  {who}: {dict(kinds)}, {trace.total_bytes / 2**20:.1f} MiB sent", flush=True)
    else:
        for who in ("weft split", "weft split, overlap(0)", "weft whole"):
            candidates[who]()

    busy: dict[str, list[float]] = {who: [] for who in candidates}
    turns = {who: timing.together(step, busy[who]) for who, step in candidates.items()}
    return timing.in_turns(turns, rounds), busy


def rank_main(models: str, rounds: int, profile: bool) -> bool:
    first = dist.get_rank() == 0
    for d, tokens in (map(int, m.split("x")) for m in models.split(",")):
        if profile:
            show_profile(d, tokens, rounds)
            continue
        found = measure(d, tokens, rounds)
        if isinstance(found, str):
            if first:
                print(found, flush=True)
            return False
        for ours, theirs in PEERS if first else ():
            parts = [f"n={dist.get_world_size()} {d:4d}x{tokens:<4d} {ours:22s}"]
            for what, ms in zip(("ms", "ms of processor"), found, strict=True):
                ratio = timing.median_between([a / b for a, b in zip(ms[ours], ms[theirs], strict=True)])
                medians = statistics.median(ms[ours]), statistics.median(ms[theirs])
                name = f"Llama, {ours.removeprefix('weft ')} weights, d={d}, {tokens} tokens, n={dist.get_world_size()}"
                overlap = "overlap" not in ours
                goal = GOALS.get((ours, d)) if what == "ms" and "counted" not in theirs else None
                headline = overlap and what == "ms" and "counted" not in theirs
                figures.note(name, theirs, what, ms[ours], ms[theirs], goal=goal, headline=headline)
                parts.append(f"{medians[0]:7.1f} {what}, {theirs} {medians[1]:7.1f}: {ratio}")
            print("; ".join(parts), flush=True)
    return True


def show_profile(d: int, tokens: int, rounds: int) -> None:
    """Where a step of the split weights spends its time, by torch's profiler."""
    step = steps(d, tokens)["weft split"]
    for _ in range(3):
        step()
    timing.show_profile(step, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4", help="processes (default 2,4)")
    parser.add_argument("--models", default="256x64,512x64,192x768", help="hidden size x tokens of a sequence")
    parser.add_argument("--rounds", type=int, default=20, help="(default 20)")
    parser.add_argument("--profile", action="store_true", help="torch's profile of split weights instead of times")
    o = parser.parse_args()
    right = [timing.gloo_ranks(n, rank_main, o.models, o.rounds, o.profile) for n in map(int, o.ranks.split(","))]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
