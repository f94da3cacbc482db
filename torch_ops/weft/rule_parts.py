"""Cutting tensors into parts and putting parts together, as the ranks of a mesh axis would hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

COMBINE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sum": lambda stack: stack.sum(0),
    "max": lambda stack: stack.amax(0),
    "min": lambda stack: stack.amin(0),
    "product": lambda stack: stack.prod(0),
    "norm2": lambda stack: stack.square().sum(0).sqrt(),
}


def combine(reduction: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
    stack = torch.stack(list(parts))
    out = stack.mean(0) if reduction == "avg" else COMBINE[reduction](stack)
    return out.to(stack.dtype)


def cut(t: torch.Tensor, d: int, k: int, sizes: list[int], begin: int, length: int) -> torch.Tensor:
    """Part of dimension `d`, which folds factors of `sizes`: `length` entries of the k-th factor."""
    if len(sizes) == 1:
        return t.narrow(d, begin, length)
    return t.unflatten(d, sizes).narrow(d + k, begin, length).flatten(d, d + len(sizes) - 1)


def join(parts: Sequence[torch.Tensor], d: int, k: int, sizes: list[int], lengths: Sequence[int]) -> torch.Tensor:
    """The inverse of `cut`."""
    if len(sizes) == 1:
        return torch.cat(list(parts), d)
    shapes = [[*sizes[:k], n, *sizes[k + 1 :]] for n in lengths]
    opened = [p.unflatten(d, s) for p, s in zip(parts, shapes, strict=True)]
    return torch.cat(opened, d + k).flatten(d, d + len(sizes) - 1)


def parts_of(t: torch.Tensor, n: int, reduction: str, generator: torch.Generator) -> list[torch.Tensor]:
    """`n` tensors that combine to `t`, none like another; those of a sum are of both signs."""
    rest = t.detach().clone()
    if reduction in ("max", "min"):
        owner = torch.randint(0, n, t.shape, generator=generator)
        away = [torch.randint(0, 5, t.shape, generator=generator).to(t.dtype) for _ in range(n)]
        sign = -1 if reduction == "max" else 1
        return [torch.where(owner == p, rest, rest + sign * away[p]) for p in range(n)]
    out = []
    rest = rest * n if reduction == "avg" else rest
    for p in range(n - 1):
        if t.is_floating_point() or t.is_complex():
            part = torch.randn(t.shape, generator=generator, dtype=t.dtype) * (2 + p)
        else:
            part = torch.randint(-7, 8, t.shape, generator=generator).to(t.dtype)
        out.append(part)
        rest = rest - part
    return [*out, rest]


def difference(got: torch.Tensor, want: torch.Tensor) -> str:
    """How the first is not the second, to the accuracy that another order of sums leaves; "" where it is."""
    if got.shape != want.shape:
        return f"has shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if got.dtype != want.dtype:
        return f"is {got.dtype}, not {want.dtype}"
    got, want = got.detach(), want.detach()
    if want.numel() == 0:
        return ""
    if not want.is_floating_point() and not want.is_complex():
        wrong = int((got != want).sum())
        return f"differs at {wrong} of {want.numel()} places" if wrong else ""
    wide = torch.complex128 if want.is_complex() else torch.float64
    eps = torch.finfo(want.dtype).eps
    finite = want.abs()[torch.isfinite(want)]
    scale = max(1.0, float(finite.max()) if finite.numel() else 1.0)
    close = torch.isclose(got.to(wide), want.to(wide), rtol=eps**0.6, atol=eps**0.7 * scale, equal_nan=True)
    wrong = int((~close).sum())
    return f"differs at {wrong} of {want.numel()} places" if wrong else ""
