"""Runs a function on plain tensors and on the same tensors in every layout, and compares values and gradients.

A module of traps ends in `CASES = cases_in(globals())` and `results, test_trap = cases_on_worlds(globals(), …)`: its
functions named trap… and complaint… are each given a mesh.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import weft
from support.cases import every_layout, same


def cases_in(names: Mapping[str, Any]) -> dict[str, Callable]:
    return {name: f for name, f in list(names.items()) if name.startswith(("trap", "complaint"))}


def lay(t: torch.Tensor, layout: weft.TensorLayout, seed: int = 0) -> torch.Tensor:
    """The tensor in that layout; a pending sum is made of parts of both signs, none like another."""
    if not layout.partial:
        return weft.distribute_tensor(t.detach().clone(), layout)
    ((axis, reduction),) = layout.partial.items()
    mesh = layout.device_mesh
    n, mine = mesh.shape[mesh.axis_names.index(axis)], mesh.coordinates[axis]
    generator = torch.Generator().manual_seed(seed)
    if reduction in ("max", "min"):
        owner = torch.randint(0, n, t.shape, generator=generator)
        return weft.from_local(torch.where(owner == mine, t, t + (-1 if reduction == "max" else 1)), layout, t.shape)
    kind = torch.float64 if t.is_floating_point() else t.dtype
    noise = [torch.randint(-4, 5, t.shape, generator=generator).to(kind) for _ in range(n - 1)]
    whole = t.to(kind) * (n if reduction == "avg" else 1)
    return weft.from_local([*noise, whole - sum(noise)][mine].to(t.dtype), layout, t.shape)


def layouts_of(mesh: weft.DeviceMesh, tensors: Iterable[torch.Tensor], pending: bool) -> list[tuple]:
    """One layout for each tensor: every one for each in turn, the others split, replicated or pending in step."""
    tensors = list(tensors)
    choices = [every_layout(mesh, t.dim(), partial=pending and t.dtype != torch.bool) for t in tensors]
    found = []
    for i, own in enumerate(choices):
        for k, layout in enumerate(own):
            for step in (0, k):
                found.append(tuple(layout if j == i else c[step % len(c)] for j, c in enumerate(choices)))
    return list(dict.fromkeys(found))


def everywhere(
    mesh: weft.DeviceMesh, f: Callable, *tensors: torch.Tensor, gradient: bool = True, pending: bool = True
) -> None:
    # In steps of 1/1024: the parts of a pending sum add up to just these values.
    tensors = tuple((t * 1024).round() / 1024 if t.is_floating_point() else t for t in tensors)
    for layouts in layouts_of(mesh, tensors, pending):
        plain = [t.detach().clone().requires_grad_(gradient and t.is_floating_point()) for t in tensors]
        shards = [lay(t, o, i) for i, (t, o) in enumerate(zip(tensors, layouts, strict=True))]
        for p, s in zip(plain, shards, strict=True):
            s.requires_grad_(p.requires_grad)
        want, got = f(*plain), f(*shards)
        wants, gots = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (want, got))
        label = f"{[str(o) for o in layouts]}"
        for k, (w, g) in enumerate(zip(wants, gots, strict=True)):
            same(g, w, f"result {k} for {label}")
            assert g.shape == w.shape and g.dtype == w.dtype, f"{g.shape} {g.dtype} for {label}"
        if not gradient:
            continue
        pairs = [(w, g) for w, g in zip(wants, gots, strict=True) if w.requires_grad]
        heads = [torch.linspace(-1, 2, w.numel(), dtype=w.dtype).view(w.shape) for w, _ in pairs]
        sources = [i for i, p in enumerate(plain) if p.requires_grad]
        if not pairs or not sources:
            continue
        expected = torch.autograd.grad([w for w, _ in pairs], [plain[i] for i in sources], heads, allow_unused=True)
        found = torch.autograd.grad([g for _, g in pairs], [shards[i] for i in sources], heads, allow_unused=True)
        for i, e, g in zip(sources, expected, found, strict=True):
            assert (e is None) == (g is None), f"gradient {i} for {label}"
            if e is not None:
                same(g, e, f"gradient {i} for {label}")
