"""First training step of a tiny Llama (transformers) on a 2 x 2 mesh of Gloo ranks: Weft beside DTensor.

    python tools/bench/first_step.py [--repeats N] [--only weft,tp]

Every run is four fresh processes, since only a process's first step meets every op and shape for the first time; the
candidates take turns. Seconds of rank 0, the best run: processor time, which other work on the machine and waiting for
the other ranks do not touch, and elapsed time. `later` is the best of three steps after the first.

  plain    the whole model on each rank
  weft     the unchanged model, default attention, usual column and row plan over "model", batch over "data"
  dtensor  every parameter and buffer a DTensor with the same plan, but eager attention (DTensor has no rule for the
           default one on CPUs), the embedding whole (with its vocabulary split DTensor fails) and plain tensors taken
           as replicated (else it refuses them)
  tp       DTensor's tensor-parallel styles for the linear layers and FSDP over "data": torch's own recipe. All other
           ops run on plain local tensors, so there is little for it to do
"""

import argparse
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import figures
import timing
import torch
import weft
from torch.distributed.device_mesh import init_device_mesh

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from ranks import models  # noqa: E402  (the tests' tiny models)

RANKS, SHAPE, AXES = 4, (2, 2), ("data", "model")
PLAN = models.PLANS["llama"]


def plain(model, batch):
    return batch, nullcontext


def by_weft(model, batch):
    mesh = weft.DeviceMesh(SHAPE, AXES, device_type="cpu")
    weft.distribute_module(model, PLAN, mesh=mesh)
    return weft.shard_batch(batch, mesh, "data"), nullcontext


def by_dtensor(model, batch):
    from torch.distributed.tensor import Replicate, Shard, distribute_module, distribute_tensor
    from torch.distributed.tensor.experimental import implicit_replication

    model.set_attn_implementation("eager")
    mesh = init_device_mesh("cpu", SHAPE, mesh_dim_names=AXES)

    def placements(path: str) -> list:
        found = [axes for pattern, axes in PLAN.items() if re.fullmatch(pattern, path) and "embed" not in path]
        return [Replicate(), Shard(found[0].index("model")) if found else Replicate()]

    def lay_out(name: str, module: torch.nn.Module, mesh) -> None:
        for key, p in list(module.named_parameters(recurse=False)):
            path = f"{name}.{key}".replace(".", "/")
            module.register_parameter(key, torch.nn.Parameter(distribute_tensor(p, mesh, placements(path))))

    distribute_module(model, mesh, lay_out)
    return {k: distribute_tensor(v, mesh, [Shard(0), Replicate()]) for k, v in batch.items()}, implicit_replication


def by_styles(model, batch):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", SHAPE, mesh_dim_names=AXES)
    styles = {
        **{f"model.layers.*.self_attn.{name}_proj": ColwiseParallel() for name in "qkv"},
        **{f"model.layers.*.mlp.{name}_proj": ColwiseParallel() for name in ("gate", "up")},
        "model.layers.*.self_attn.o_proj": RowwiseParallel(),
        "model.layers.*.mlp.down_proj": RowwiseParallel(),
        "model.embed_tokens": RowwiseParallel(input_layouts=Replicate()),
    }
    parallelize_module(model, mesh["model"], styles)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh["data"])
    fully_shard(model, mesh=mesh["data"])
    return {k: v.chunk(SHAPE[0])[mesh.get_coordinate()[0]] for k, v in batch.items()}, nullcontext


CANDIDATES = {"plain": plain, "weft": by_weft, "dtensor": by_dtensor, "tp": by_styles}


def rank(who: str) -> dict[str, list[float]]:
    """Processor and elapsed seconds of the first step and of the best of three later ones."""
    model, batch = models.build("llama")
    batch, around = CANDIDATES[who](model, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    steps = []
    for _ in range(4):
        torch.distributed.barrier()
        elapsed, processor = time.perf_counter(), time.process_time()
        with around():
            model(**batch).loss.backward()
            optimizer.step()
        optimizer.zero_grad()
        steps.append((time.process_time() - processor, time.perf_counter() - elapsed))
    return {"first": list(steps[0]), "later": [min(s[i] for s in steps[1:]) for i in range(2)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="runs of each candidate (default 2)")
    parser.add_argument("--only", default=",".join(CANDIDATES), help="candidates, with commas between")
    options = parser.parse_args()
    best: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.repeats):
        for who in options.only.split(","):
            run = timing.gloo_ranks(RANKS, rank, who)
            before = best.setdefault(who, run)
            best[who] = {step: list(map(min, run[step], before[step])) for step in run}
    columns = ("first, processor", "elapsed", "later, processor", "elapsed", "to weft")
    print(f"{'seconds':10s}{''.join(f'{c:>18s}' for c in columns)}")
    for who, s in best.items():
        if who in ("dtensor", "tp") and "weft" in best:
            peer = {"dtensor": "DTensor", "tp": "DTensor's TP and FSDP2"}[who]
            ours = best["weft"]["first"][0]
            figures.note("first step of a tiny Llama, mesh (2, 2), processor", peer, "s", ours, s["first"][0])
        ratio = f"{s['first'][0] / best['weft']['first'][0]:18.2f}" if "weft" in best else ""
        print(f"{who:10s}{''.join(f'{x:18.3f}' for x in s['first'] + s['later'])}{ratio}")


if __name__ == "__main__":
    main()
