"""Values of two steps, compared (checking.check)."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .tensors import is_sharded, layout_of, value_of


def variables(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def dense(t: torch.Tensor | None) -> torch.Tensor | None:
    return t.to_dense() if t is not None and t.is_sparse else t


def largest_of(tensors: Iterable[torch.Tensor]) -> float:
    """The largest element that is no infinity, nor stands for one, as in masks."""
    found = [t.detach().abs().to(torch.float64) for t in tensors if t.is_floating_point() and t.numel()]
    return max((float(torch.where(t < 1e30, t, 0.0).max()) for t in found), default=0.0)


def part_of(want: torch.Tensor, like: torch.Tensor) -> torch.Tensor | None:
    """This rank's part of a full value, in the layout of another tensor; None where nobody has parts of it."""
    if not is_sharded(like):
        return want
    layout = layout_of(like)
    if layout.partial or any(map(any, layout._object.blocks())) or want.shape != like.shape or not want.numel():
        return None
    at = layout.device_mesh.coordinates
    for dim, axes in enumerate(layout.axes):
        for axis in (axes,) if isinstance(axes, str) else axes or ():
            parts = want.chunk(layout.device_mesh.axis_size(axis), dim)
            if at[axis] >= len(parts):
                return None
            want = parts[at[axis]]
    return want


def scalar(t: torch.Tensor | None) -> float | None:
    return float(value_of(t)) if t is not None and t.numel() == 1 else None


def summary(t: torch.Tensor) -> list[float]:
    """What tells a tensor from another: its size, sums, and a few of its values."""
    flat = t.detach().flatten()
    if flat.is_complex():
        flat = torch.view_as_real(flat).flatten()
    wide = flat.to(torch.float64)
    few = wide[:: max(1, len(wide) // 4)].tolist()
    return [float(len(wide)), float(wide.sum()), float(wide.abs().sum()), *few]


def alike(one: list[float], other: list[float], tolerance: float) -> bool:
    scale = max(map(abs, one), default=0.0)
    return len(one) == len(other) and all(
        a == b or a != a and b != b or abs(a - b) <= tolerance * scale for a, b in zip(one, other, strict=True)
    )


def brief(numbers: list[float]) -> str:
    return f"{numbers[0]:.0f} elements that sum to {numbers[1]:.6g}" if numbers else "none"


def apart(got: torch.Tensor, want: torch.Tensor, floor: float) -> tuple[float, float, str]:
    """(largest difference, relative to the largest element, in words)"""
    want = want.detach()
    if got.shape != want.shape or got.dtype != want.dtype:
        text = f"is {got.dtype} {tuple(got.shape)}, plain {want.dtype} {tuple(want.shape)}"
        return float("nan"), float("inf"), text
    if want.numel() == 0:
        return 0.0, 0.0, ""
    kind = torch.complex128 if want.is_complex() else torch.float64
    g, w = got.to(want.device, kind), want.to(kind)
    same = (g == w) | (torch.isnan(g) & torch.isnan(w))
    difference = torch.where(same, torch.zeros_like(g), g - w).abs()
    largest = float(difference.max()) if not torch.isnan(difference).any() else float("inf")
    finite = w.abs()[torch.isfinite(w)]
    scale = max(float(finite.max()) if finite.numel() else 0.0, floor)
    relative = 0.0 if largest == 0 else largest / scale if scale > 0 else float("inf")
    places = int((difference > 0).sum())
    text = f"differs at {places} of {want.numel()} places by up to {largest:.3g}, the largest element being {scale:.3g}"
    return largest, relative, text
