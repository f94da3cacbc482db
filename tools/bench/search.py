"""Train steps under layouts that `weft.search` found, beside those that one would write by hand, on four ranks.

    python tools/bench/search.py [--models llama,bert,t5,vit,mixtral] [--rounds N] [--tries N]

What collectives, arithmetic and memory take is measured first (WEFT_COST=measure) and searched by. Each model is laid
out over a mesh (data=2, model=2): as found, and by hand: the batch over "data" and the layers' columns and rows over
"model", with weights whole or split over the batch's axis; the batch over both axes, with weights whole or split. All
take turns in the same processes, each round in an order of its own; a ratio is of steps of the same round. The
peer is the layout by hand whose median is the least. First of all a Llama of 32 layers (7 billion parameters) is
searched on a mesh (8, 8), by one process.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import timing
import torch
import torch.distributed as dist
import transformers as hf
import weft

SHAPE = {"data": 2, "model": 2}
BOTH = ("data", "model")
GOAL = 1.05
DEEP_GOAL = 10.0  # seconds
WIDTH, LAYERS, WORDS = 256, 4, 512
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 8, "intermediate_size": 3 * WIDTH}
Batch = dict[str, torch.Tensor]


def make_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=WORDS, num_key_value_heads=4, **SIZES))
    if name == "bert":
        return hf.BertForMaskedLM(hf.BertConfig(vocab_size=WORDS, **SIZES))
    if name == "t5":
        config = hf.T5Config(
            vocab_size=WORDS, d_model=WIDTH, d_kv=WIDTH // 8, d_ff=3 * WIDTH, num_layers=LAYERS // 2, num_heads=8,
            decoder_start_token_id=0,
        )  # fmt: skip
        return hf.T5ForConditionalGeneration(config)
    if name == "vit":
        return hf.ViTForImageClassification(hf.ViTConfig(image_size=64, patch_size=8, num_labels=10, **SIZES))
    if name == "mixtral":
        sizes = {**SIZES, "intermediate_size": WIDTH}
        config = hf.MixtralConfig(vocab_size=WORDS, num_key_value_heads=4, num_local_experts=4, **sizes)
        return hf.MixtralForCausalLM(config)
    raise SystemExit(f"tools/bench/search.py: no model {name}")


def make_batch(name: str) -> Batch:
    draw = torch.Generator().manual_seed(1)
    if name == "vit":
        return {
            "pixel_values": torch.randn(16, 3, 64, 64, generator=draw),
            "labels": torch.randint(0, 10, (16,), generator=draw),
        }
    ids = torch.randint(0, WORDS, (8, 64), generator=draw)
    return {"input_ids": ids, "labels": ids}


def by_hand(model: torch.nn.Module, mesh: weft.DeviceMesh) -> dict[str, tuple[weft.LayoutMap, tuple[str, ...]]]:
    megatron = weft.layouts.megatron(model, mesh, "model")
    return {
        "whole over data, columns and rows": (megatron, ("data",)),
        "split over data, columns and rows": (weft.layouts.fsdp(model, mesh, "data") | megatron, ("data",)),
        "whole over both": (weft.LayoutMap(mesh), BOTH),
        "split over both": (weft.layouts.fsdp(model, mesh, BOTH), BOTH),
    }


def found_by_rank_0(name: str, mesh: weft.DeviceMesh, tries: int) -> tuple[weft.LayoutMap, tuple[str, ...]]:
    shared: list[Any] = [None]
    if dist.get_rank() == 0:
        start = time.perf_counter()
        found = weft.search(lambda: make_model(name), SHAPE, make_batch(name), optimizer=torch.optim.AdamW, tries=tries)
        print(f"{name}: searched for {time.perf_counter() - start:.1f} s\n{found}", flush=True)
        shared = [(found.layouts.to_json(), found.batch_axis)]
    dist.broadcast_object_list(shared)
    text, batch_axis = shared[0]
    return weft.LayoutMap.from_json(text, mesh), batch_axis


def step_of(name: str, layouts: weft.LayoutMap, batch_axis: tuple[str, ...]) -> Callable[[], float]:
    model = weft.distribute_module(make_model(name), layouts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mesh = layouts.device_mesh
    batch = weft.shard_batch(make_batch(name), mesh, batch_axis) if batch_axis else make_batch(name)

    def step() -> float:
        dist.barrier()
        start = time.perf_counter()
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
        return (time.perf_counter() - start) * 1e3

    return step


def rank_main(name: str, rounds: int, tries: int) -> bool:
    mesh = weft.DeviceMesh(tuple(SHAPE.values()), tuple(SHAPE), device_type="cpu")
    layouts = {"found": found_by_rank_0(name, mesh, tries), **by_hand(make_model(name), mesh)}
    steps = {who: step_of(name, *candidate) for who, candidate in layouts.items()}
    for step in steps.values():
        for _ in range(3):
            step()
    ms = timing.in_turns(steps, rounds)
    if dist.get_rank() != 0:
        return True
    medians = {who: statistics.median(values) for who, values in ms.items()}
    peer = min((who for who in medians if who != "found"), key=lambda who: medians[who])
    ratio = timing.median_between([a / b for a, b in zip(ms["found"], ms[peer], strict=True)])
    figures.note(f"{name}, layouts found", peer, "ms", ms["found"], ms[peer], goal=GOAL)
    print(f"{name}: " + "; ".join(f"{who} {m:.1f} ms" for who, m in medians.items()), flush=True)
    print(f"{name}: found beside '{peer}': {ratio}", flush=True)
    return statistics.median(a / b for a, b in zip(ms["found"], ms[peer], strict=True)) <= GOAL


def search_deep(tries: int) -> bool:
    config = hf.LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    ids = torch.zeros(64, 1024, dtype=torch.long)

    def make() -> torch.nn.Module:
        with torch.device("meta"):
            return hf.LlamaForCausalLM(config)

    start = time.perf_counter()
    found = weft.search(make, {"data": 8, "model": 8}, {"input_ids": ids, "labels": ids}, tries=tries)
    seconds = time.perf_counter() - start
    print(f"a Llama of 32 layers, mesh (8, 8): searched for {seconds:.1f} s\n{found}", flush=True)
    return seconds <= DEEP_GOAL


def measure(file: str) -> bool:
    mesh = weft.DeviceMesh(tuple(SHAPE.values()), tuple(SHAPE), device_type="cpu")
    cost = weft.cost(mesh)
    if dist.get_rank() == 0:
        cost.save(file)
        print(cost, flush=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="llama,bert,t5,vit,mixtral")
    parser.add_argument("--rounds", type=int, default=20, help="(default 20)")
    parser.add_argument("--tries", type=int, default=100, help="layouts that are looked at (default 100)")
    o = parser.parse_args()
    ranks = SHAPE["data"] * SHAPE["model"]
    with tempfile.TemporaryDirectory() as folder:
        right = [search_deep(o.tries)]
        file = str(Path(folder) / "cost.json")
        os.environ["WEFT_COST"] = "measure"
        timing.gloo_ranks(ranks, measure, file)
        os.environ["WEFT_COST"] = file
        right += [timing.gloo_ranks(ranks, rank_main, name, o.rounds, o.tries) for name in o.models.split(",")]
    raise SystemExit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
