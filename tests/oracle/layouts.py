"""Draws layouts for plain tensors and lays them out: replicated, split (evenly or not), pending sums, plain."""

import random
from typing import Any

import torch
import weft
from oracle.compare import HALVES

CHOICES = ("split", "pending", "replicated", "plain")
WEIGHTS = (50, 20, 15, 15)
REDUCTIONS = ("sum", "avg", "max", "min")


def draw(rng: random.Random, t: torch.Tensor, mesh: weft.DeviceMesh, kinds: tuple[str, ...] = CHOICES) -> Any:
    """A layout for `t`, or None where it stays plain. Draws the same whatever the tensor, so ranks agree."""
    weights = [WEIGHTS[CHOICES.index(k)] for k in kinds]
    axes: list[list[str]] = [[] for _ in range(t.dim())]
    partial = {}
    plain = rng.choices(kinds, weights)[0] == "plain"
    for name in mesh.axis_names:
        kind = rng.choices(kinds, weights)[0]
        where = rng.random()
        if kind == "split" and t.dim():
            axes[int(where * t.dim())].append(name)
        elif kind == "pending":
            partial[name] = rng.choices(REDUCTIONS, [reducible(t.dtype, r) for r in REDUCTIONS])[0]
    return None if plain else weft.TensorLayout([tuple(a) or None for a in axes], mesh, partial or None)


def reducible(dtype: torch.dtype, reduction: str) -> int:
    """How often that reduction is drawn for pending values of `dtype`."""
    if dtype.is_complex:
        return {"sum": 4, "avg": 1}.get(reduction, 0)
    if dtype == torch.bool:
        return {"max": 1, "min": 1}.get(reduction, 0)
    return {"sum": 6, "avg": int(dtype.is_floating_point)}.get(reduction, 1)


STEPS = {torch.float64: 4096, torch.float32: 4096, torch.float16: 128, torch.bfloat16: 16}  # to 1, exact up to 16


def coarse(t: torch.Tensor) -> torch.Tensor:
    """A copy in steps so large that sums of a few are exact in whatever order, so that ties stay ties."""
    if t.dtype.is_complex and t.dtype != torch.complex32:
        return torch.view_as_complex(coarse(torch.view_as_real(t.resolve_conj().resolve_neg())))
    steps = STEPS.get(t.dtype)
    return t.clone() if steps is None else (t * steps).round() / steps


def parts(t: torch.Tensor, n: int, reduction: str, generator: torch.Generator) -> list[torch.Tensor]:
    """`n` tensors that reduce to `t`: none like another, none like t. Those of a sum are of both signs."""
    out = []
    rest = coarse(t.detach())
    if reduction in ("max", "min"):
        owner = torch.randint(0, n, t.shape, generator=generator)
        for i in range(n):
            away = torch.randint(0, 5, t.shape, generator=generator).to(t.dtype)
            if t.dtype == torch.bool:
                other = rest & away if reduction == "max" else rest | away
            elif t.is_floating_point():
                other = rest - away if reduction == "max" else rest + away
            else:  # no overflow
                limit = torch.iinfo(t.dtype).min if reduction == "max" else torch.iinfo(t.dtype).max
                other = torch.where(away > 2, rest, torch.full_like(rest, limit))
            out.append(torch.empty_like(rest).copy_(torch.where(owner == i, rest, other)))
        return out
    if reduction == "avg":
        rest *= n
    for i in range(n - 1):
        if t.is_floating_point() or t.is_complex():
            # Large parts that cancel leave their rounding, which in half precision is seen.
            scale = (2 + i) / 8 if t.dtype in HALVES else 2 + i
            values = torch.randn(t.shape, generator=generator).mul(scale)
        else:
            values = torch.randint(-7 - i, 8 + i, t.shape, generator=generator)
        part = coarse(torch.empty_like(rest).copy_(values))
        out.append(part)
        rest -= part
    out.append(rest)
    return out


def lay_out(t: torch.Tensor, layout: Any, seed: int) -> torch.Tensor:
    """The tensor in that layout; `t` is the same on every rank."""
    if layout is None:
        return t.detach().clone()
    if not layout.partial:
        return weft.distribute_tensor(t.detach(), layout)
    generator = torch.Generator().manual_seed(seed)
    mesh = layout.device_mesh
    mine = t.detach()
    for name in layout.partial:
        size = mesh.shape[mesh.axis_names.index(name)]
        mine = parts(mine, size, layout.partial[name], generator)[mesh.coordinates[name]]
    local = weft.local_tensor(weft.distribute_tensor(mine, weft.TensorLayout(layout.axes, mesh)))
    return weft.from_local(local, layout, t.shape)


def reference(t: torch.Tensor) -> torch.Tensor:
    """A plain tensor with the value, sizes and strides of `t` (a pending sum rounds otherwise than what it was made
    from, which matters to ops that jump)."""
    if not weft.is_sharded(t):
        return t.detach().clone()
    whole = weft.full_tensor(t.detach())
    if whole.stride() == t.stride():
        return whole.clone()
    if any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape, strict=True)):
        return whole.clone()
    return torch.empty_strided(t.size(), t.stride(), dtype=t.dtype).copy_(whole)
