"""Steps of a small Llama compiled by torch.compile beside the same model op by op, both distributed by Weft.

    python tools/bench/compile.py [--models 64x32,256x64] [--meshes 2,2x2] [--backends inductor] [--rounds N]

Each model `d x tokens` has hidden size d, 2 layers, and 2 sequences of that many tokens for each part of the batch. On
mesh 2 the weights are split by columns and rows over two ranks; on mesh 2x2 so are they, and the batch over the other
axis. A step is forward and backward. Candidates take turns in the same processes, each round in an order of
its own; the ratios are of steps of the same round, their median and the interval that it lies in. Losses and gradients
are compared before: exit code 1 where they differ. Compiling takes some ten seconds for each model and mesh.

With --cold it is the first step of a newly compiled model that is timed, without anything in compilers' caches, beside
that of the same model undistributed, which every rank compiles by itself.
"""

import argparse
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import figures
import timing
import torch
import torch.distributed as dist
import weft
from torch._inductor.utils import fresh_cache
from tqdm import tqdm
from transformers import LlamaForCausalLM

sys.path.append(str(Path(__file__).resolve().parent.parent / "demo_common"))
import small_llama  # noqa: E402

LAYERS, SEQUENCES, WARM_UP = 2, 2, 3
GOAL, COLD_GOAL = 0.8, 1.5
LAYOUTS = {
    r".*(q_proj|k_proj|v_proj|gate_proj|up_proj|embed_tokens|lm_head)/weight": ("model", None),
    r".*(o_proj|down_proj)/weight": (None, "model"),
}
Step = Callable[[], torch.Tensor]


def mesh_of(sizes: list[int]) -> weft.DeviceMesh:
    return weft.DeviceMesh(tuple(sizes), ("data", "model")[-len(sizes) :], device_type="cpu")


def make_model(d: int, tokens: int, mesh: weft.DeviceMesh | None) -> LlamaForCausalLM:
    torch.manual_seed(0)
    options = argparse.Namespace(hidden=d, layers=LAYERS)
    model = LlamaForCausalLM(small_llama.config(options, heads=d // 16, positions=tokens))
    return model if mesh is None else weft.distribute_module(model, LAYOUTS, mesh=mesh)


def step_of(model: torch.nn.Module, run: Callable, batch: dict[str, torch.Tensor]) -> Step:
    parameters = list(model.parameters())

    def step() -> torch.Tensor:
        for p in parameters:
            p.grad = None
        loss = run(**batch).loss
        loss.backward()
        return loss

    return step


def differs(eager: torch.nn.Module, other: torch.nn.Module, losses: list[float]) -> str:
    """How the gradients or losses of the last steps differ; empty: they do not."""
    if abs(losses[0] - losses[1]) > 1e-4:
        return f"losses {losses}"
    for (name, p), q in zip(eager.named_parameters(), other.parameters(), strict=True):
        want, got = weft.full_tensor(p.grad), weft.full_tensor(q.grad)
        error = ((got - want).norm() / (want.norm() + 1e-6)).item()
        if not error < 1e-3:
            return f"the gradient of {name}, by {error:.2g}"
    return ""


def make_batch(tokens: int, mesh: weft.DeviceMesh, whole: bool = False) -> dict[str, torch.Tensor]:
    parts = mesh.shape[0] if len(mesh.shape) == 2 else 1
    ids = torch.randint(0, 256, (SEQUENCES * parts, tokens), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "labels": ids}
    return weft.shard_batch(batch, mesh, "data") if len(mesh.shape) == 2 and not whole else batch


def candidates(d: int, tokens: int, mesh: weft.DeviceMesh, backends: list[str]) -> tuple[dict[str, Step], str]:
    """The steps, each taken some times, and in what they differ."""
    batch = make_batch(tokens, mesh)
    models = {who: make_model(d, tokens, mesh) for who in ("eager", *backends)}
    steps = {"eager": step_of(models["eager"], models["eager"], batch)}
    fault, losses = "", {}
    for who, model in models.items():
        if who != "eager":
            steps[who] = step_of(model, torch.compile(model, backend=who, fullgraph=True), batch)
        for _ in range(WARM_UP):
            losses[who] = steps[who]().item()
        if who != "eager":
            fault = fault or differs(models["eager"], model, [losses["eager"], losses[who]])
    return steps, fault


def time_cold(o: argparse.Namespace, d: int, tokens: int, mesh: weft.DeviceMesh, backend: str) -> None:
    """Seconds of the first step of each, compilers' caches empty."""

    def first_step(where: weft.DeviceMesh | None) -> float:
        model, batch = make_model(d, tokens, where), make_batch(tokens, mesh, whole=where is None)
        torch._dynamo.reset()
        step = step_of(model, torch.compile(model, backend=backend, fullgraph=True), batch)
        with fresh_cache():
            dist.barrier()
            start = time.perf_counter()
            step().item()
            dist.barrier()
            return time.perf_counter() - start

    torch.compile(torch.nn.Linear(2, 2), backend=backend)(torch.ones(2, 2)).sum().backward()  # imports what it needs
    seconds = timing.in_turns({"sharded": lambda: first_step(mesh), "plain": lambda: first_step(None)}, o.cold)
    if dist.get_rank() == 0:
        name = f"First step of a compiled Llama, d={d}, {tokens} tokens, mesh {o.mesh}, {backend}"
        figures.note(name, "undistributed", "s", seconds["sharded"], seconds["plain"], goal=COLD_GOAL, headline=False)
        ratio = timing.median_between([a / b for a, b in zip(seconds["sharded"], seconds["plain"], strict=True)])
        sharded, plain = (statistics.median(seconds[who]) for who in ("sharded", "plain"))
        tqdm.write(f"  {name}: {sharded:.1f} s, undistributed {plain:.1f} s: {ratio}")


def rank_main(o: argparse.Namespace, sizes: list[int]) -> bool:
    first = dist.get_rank() == 0
    weft.compile_graphs()
    mesh, right = mesh_of(sizes), True
    for model in tqdm(o.models.split(","), desc=f"mesh {o.mesh}", disable=not first):
        d, tokens = map(int, model.split("x"))
        if o.cold:
            for backend in o.backends.split(","):
                time_cold(o, d, tokens, mesh, backend)
            continue
        torch._dynamo.reset()
        start = time.perf_counter()
        steps, fault = candidates(d, tokens, mesh, o.backends.split(","))
        if first:
            tqdm.write(f"{model} on mesh {o.mesh}: compiled in {time.perf_counter() - start:.1f} s; {fault or 'right'}")
        right = right and not fault
        for who, step in steps.items():
            with weft.trace() as trace:
                step()
            if first:
                tqdm.write(f"  {who}: {dict(Counter(row.kind for row in trace.rows))}")
        if o.profile:
            timing.show_profile(steps[o.backends.split(",")[0]], o.rounds)
            continue
        busy: dict[str, list[float]] = {who: [] for who in steps}
        ms = timing.in_turns({who: timing.together(step, busy[who]) for who, step in steps.items()}, o.rounds)
        for who in o.backends.split(",") if first else ():
            show(f"Llama, d={d}, {tokens} tokens, mesh {o.mesh}, {who}", "ms", ms[who], ms["eager"])
            show(f"Llama, d={d}, {tokens} tokens, mesh {o.mesh}, {who}", "ms of processor", busy[who], busy["eager"])
    return right


def show(name: str, unit: str, compiled: list[float], eager: list[float]) -> None:
    goal = GOAL if unit == "ms" else None
    figures.note(name, "Weft op by op", unit, compiled, eager, goal=goal, headline=unit == "ms")
    ratio = timing.median_between([a / b for a, b in zip(compiled, eager, strict=True)])
    medians = statistics.median(compiled), statistics.median(eager)
    tqdm.write(f"  {name}: {medians[0]:.1f} {unit}, op by op {medians[1]:.1f}: {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="64x32,256x64", help="hidden size x tokens of a sequence")
    parser.add_argument("--meshes", default="2,2x2", help="sizes of the meshes (default 2,2x2)")
    parser.add_argument("--backends", default="inductor", help="of torch.compile (default inductor)")
    parser.add_argument("--rounds", type=int, default=20, help="(default 20)")
    parser.add_argument("--cold", type=int, default=0, metavar="N", help="times first steps, of N compilations of each")
    parser.add_argument("--profile", action="store_true", help="torch's profile of the first backend instead of times")
    o = parser.parse_args()
    right = []
    for mesh in o.meshes.split(","):
        o.mesh = mesh
        sizes = [int(n) for n in mesh.split("x")]
        right.append(timing.gloo_ranks(math.prod(sizes), rank_main, o, sizes))
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
