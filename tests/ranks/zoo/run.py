"""One model under one plan on one mesh, on every rank: generation, a training step, all equal to the plain model's."""

import functools
import time
import warnings
from typing import Any

import torch
import weft
from support.plan_log import PlanLog

from . import MODELS, inputs
from .plans import layouts_of, shard_inputs

MESHES = {(2,): ("model",), (3,): ("model",), (2, 2): ("data", "model"), (1, 4): ("data", "model")}
TOLERANCE = 1e-4  # of a loss, a gradient's norm, an update's norm
TOKENS = 8
SETTINGS = {
    "max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "use_cache": True, "pad_token_id": 0
}  # fmt: skip


def build(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The model in training mode; the same from every call."""
    torch.manual_seed(0)
    return MODELS[name].build().to(dtype).train()


def batch_of(name: str, dtype: torch.dtype = torch.float32) -> dict:
    def cast(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return x.to(dtype) if x.is_floating_point() else x
        if isinstance(x, dict):
            return {k: cast(v) for k, v in x.items()}
        return list(map(cast, x)) if isinstance(x, list) else x

    return cast(inputs.batch(MODELS[name].inputs))


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """An optimizer whose epsilon keeps rounding errors of tiny gradients from becoming whole steps."""
    return torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)


def step(
    name: str, model: torch.nn.Module, batch: dict, optimizer: torch.optim.Optimizer
) -> tuple[torch.Tensor, float]:
    """(loss, seconds); draws the same dropout in every call."""
    torch.manual_seed(5)
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss = MODELS[name].loss(model, batch)
    loss.backward()
    optimizer.step()
    return loss.detach(), time.perf_counter() - begin


def generate(model: torch.nn.Module, batch: dict) -> list:
    keys = {k: v[:, :5] if k == "input_ids" and v.shape[1] < 20 else v for k, v in batch.items() if k != "labels"}
    tokens = model.eval().generate(**{k: v[:2] for k, v in keys.items()}, **SETTINGS)
    model.train()
    return (weft.full_tensor(tokens) if weft.is_sharded(tokens) else tokens).tolist()


@functools.lru_cache(maxsize=1)
def plain(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """What the unsharded model gives."""
    model, batch = build(name, dtype), batch_of(name, dtype)
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    tokens = generate(model, batch) if MODELS[name].generates else None
    optimizer = optimizer_of(model)
    loss, first = step(name, model, batch, optimizer)
    out = {
        "loss": loss.item(),
        "tokens": tokens,
        "first": first,
        "gradients": {k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()},
        "updates": {k: p.detach() - before[k] for k, p in model.named_parameters()},
        "before": before,
        "buffers": {k: b.clone() for k, b in model.named_buffers()},
    }
    out["steady"] = min(step(name, model, batch, optimizer)[1] for _ in range(2))
    return out


def differences(model: torch.nn.Module, loss: torch.Tensor, want: dict[str, Any]) -> dict[str, Any]:
    """What differs from the plain model after a step, by path."""
    wrong: dict[str, Any] = {}
    got = (weft.full_tensor(loss) if weft.is_sharded(loss) else loss).item()
    if not abs(got - want["loss"]) <= TOLERANCE * max(1.0, abs(want["loss"])):
        wrong["loss"] = f"{got}, not {want['loss']}"
    # A bias that the softmax cancels has a gradient of rounding errors: measured against the largest gradient too.
    largest = max(g.abs().max().item() for g in want["gradients"].values() if g is not None)
    for path, parameter in model.named_parameters():
        expected = want["gradients"][path]
        if (parameter.grad is None) != (expected is None):
            wrong[path] = "no gradient" if parameter.grad is None else "a gradient"
            continue
        if expected is None:
            continue
        if weft.layout_of(parameter.grad) != weft.layout_of(parameter):
            wrong[path] = f"gradient laid out as {weft.layout_of(parameter.grad)}"
        error = apart(weft.full_tensor(parameter.grad), expected, 1e-3 * largest)
        if not error < TOLERANCE:
            wrong[path] = f"gradient {error:.1e}"
        update = weft.full_tensor(parameter.detach()) - want["before"][path]
        error = apart(update, want["updates"][path], 1e-2 * len(expected.flatten()) ** 0.5)
        if not error < 10 * TOLERANCE:
            wrong.setdefault(path, f"update {error:.1e}")
    for path, buffer in model.named_buffers():
        value = weft.full_tensor(buffer) if weft.is_sharded(buffer) else buffer
        error = apart(value.double(), want["buffers"][path].double(), 1e-2)
        if not error < TOLERANCE:
            wrong[path] = f"buffer {error:.1e}"
    return wrong


def apart(got: torch.Tensor, want: torch.Tensor, floor: float) -> float:
    return ((got - want).norm() / (want.norm() + floor)).item()


def run_model(name: str, shape: tuple[int, ...], plan: str, timed: bool = True, dtype_name: str = "float32") -> dict:
    """A row of the table, the same on every rank but for the times.

    Returns `verdict` ("equal", "wrong", "raised", or "no plain" where the plain model raises), `text` (what differs, or
    the error), `collectives` and `bytes` of a step, `gathered` (ops without a rule for what they were given), seconds.
    """
    warnings.simplefilter("ignore")
    dtype = getattr(torch, dtype_name)
    mesh = weft.DeviceMesh(shape, MESHES[shape], device_type="cpu")
    try:
        want = plain(name, dtype)
    except Exception as e:
        text = f"{type(e).__name__}: {str(e)[:1500]}"
        return {"verdict": "no plain", "text": text, "gathered": []}
    row: dict[str, Any] = {"plain_first": want["first"], "plain_steady": want["steady"]}
    with weft.random_mode("replay"), PlanLog() as plans:
        try:
            row.update(sharded(name, mesh, plan, dtype, want, timed))
        except Exception as e:
            text = str(e).split("\nException raised")[0]
            row.update(verdict="raised", text=f"{type(e).__name__}: {text[:1500]}")
    row["gathered"] = sorted(op for op, how in plans.ops().items() if how[0] == "gathered")
    return row


def sharded(name: str, mesh: weft.DeviceMesh, plan: str, dtype: torch.dtype, want: dict, timed: bool) -> dict:
    model = build(name, dtype)
    weft.distribute_module(model, layouts_of(plan, model, mesh))
    batch = shard_inputs(plan, batch_of(name, dtype), mesh)
    wrong: dict[str, Any] = {}
    if MODELS[name].generates:
        tokens = generate(model, batch)
        if tokens != want["tokens"]:
            wrong["tokens"] = f"{tokens}, not {want['tokens']}"
    optimizer = optimizer_of(model)
    with weft.trace() as moved:
        loss, first = step(name, model, batch, optimizer)
    wrong.update(differences(model, loss, want))
    row: dict[str, Any] = {
        "verdict": "wrong" if wrong else "equal",
        "text": "; ".join(f"{k}: {v}" for k, v in list(wrong.items())[:5]) + (f"; {len(wrong)}" if wrong else ""),
        "collectives": len(moved),
        "bytes": moved.total_bytes,
        "first": first,
    }
    if timed:
        row["steady"] = min(step(name, model, batch, optimizer)[1] for _ in range(2))
    return row
