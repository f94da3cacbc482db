"""Compares what Weft made with what the plain op made."""

from collections.abc import Callable
from typing import Any

import torch
import weft
from torch.utils import _pytree as pytree

# Relative to each value, and absolute in units of the largest: sharding changes the order of sums, nothing else.
TOLERANCES = {
    torch.float64: (1e-7, 1e-9),
    torch.float32: (2e-3, 2e-5),
    torch.complex64: (2e-3, 2e-5),
    torch.bfloat16: (5e-2, 2e-2),
    torch.float16: (1e-2, 5e-3),
    torch.complex32: (1e-2, 5e-3),
}
HALVES = (torch.bfloat16, torch.float16, torch.complex32)


class Wrong(Exception):
    """Kind: value, shape, stride, dtype, structure, layout, flags."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def full(x: object) -> object:
    return weft.full_tensor(x.detach()) if weft.is_sharded(x) else x.detach() if isinstance(x, torch.Tensor) else x


def compare(got: object, want: object, what: str, strides: bool = True, truth: Callable[[], Any] | None = None) -> None:
    """Raises Wrong. A collective: every rank calls it with the same structure. Where values of half precision differ,
    `truth`, the plain op in double precision, tells whether the plain op itself is no nearer to it (terms that cancel
    leave rounding)."""
    got_leaves, got_spec = pytree.tree_flatten(got)
    want_leaves, want_spec = pytree.tree_flatten(want)
    wholes = [full(g) for g in got_leaves]  # all of them first, so that ranks stay in step
    if len(got_leaves) != len(want_leaves) or str(got_spec) != str(want_spec):
        raise Wrong("structure", f"{what}: {got_spec}, expected {want_spec}")
    for i, (g, whole, w) in enumerate(zip(got_leaves, wholes, want_leaves, strict=True)):
        label = what if len(want_leaves) == 1 else f"{what}[{i}]"
        if isinstance(w, torch.Tensor) != isinstance(g, torch.Tensor):
            raise Wrong("structure", f"{label}: {type(g)}, expected {type(w)}")
        if isinstance(w, torch.Tensor):
            try:
                compare_tensor(g, whole, w, label, strides)
            except Wrong as e:
                if e.kind != "value" or truth is None or w.dtype not in HALVES:
                    raise
                if not as_near(whole, w, pytree.tree_leaves(truth())[i]):
                    raise
        elif isinstance(w, float):
            compare_tensor(torch.tensor(g), torch.tensor(g), torch.tensor(w), label, False)
        elif type(w) in (int, bool, str) and g != w:
            raise Wrong("value", f"{label}: {g}, expected {w}")


def as_near(got: torch.Tensor, want: torch.Tensor, truth: Any) -> bool:
    """Whether `got` errs no more than `want`, or a few times as much, and that not by much."""
    if not isinstance(truth, torch.Tensor) or truth.shape != want.shape:
        return False
    error, usual = ((t.to(truth.dtype) - truth).abs().max() for t in (got, want))
    if error <= 1.01 * usual:
        return True
    return bool(error <= 4 * usual) and bool(usual <= 0.05 * truth.abs().max().clamp(min=1))


def compare_tensor(g: torch.Tensor, whole: torch.Tensor, w: torch.Tensor, label: str, strides: bool) -> None:
    if g.dtype != w.dtype or whole.dtype != w.dtype:
        raise Wrong("dtype", f"{label}: {g.dtype} ({whole.dtype}), expected {w.dtype}")
    if g.shape != w.shape or whole.shape != w.shape:
        raise Wrong("shape", f"{label}: {tuple(g.shape)} ({tuple(whole.shape)}), expected {tuple(w.shape)}")
    if w.layout != torch.strided or w.is_quantized:
        return
    value(whole, w, label)
    if strides and w.numel():
        for a, b, n in zip(g.stride(), w.stride(), w.shape, strict=True):
            if a != b and n > 1:
                raise Wrong("stride", f"{label}: {g.stride()}, expected {w.stride()} of shape {tuple(w.shape)}")
        if g.storage_offset() != w.storage_offset():
            raise Wrong("stride", f"{label}: storage offset {g.storage_offset()}, expected {w.storage_offset()}")
    if strides and (g.requires_grad, g.is_conj(), g.is_neg()) != (w.requires_grad, w.is_conj(), w.is_neg()):
        flags = [(t.requires_grad, t.is_conj(), t.is_neg()) for t in (g, w)]
        raise Wrong("flags", f"{label}: (requires_grad, is_conj, is_neg) is {flags[0]}, expected {flags[1]}")


def value(g: torch.Tensor, w: torch.Tensor, label: str) -> None:
    g, w = g.resolve_conj().resolve_neg(), w.detach().resolve_conj().resolve_neg()
    if w.dtype in (torch.complex32, torch.float16, torch.bfloat16):  # kernels for these are patchy
        tolerance = TOLERANCES[w.dtype]
        wide = torch.complex64 if w.is_complex() else torch.float32
        return close(g.to(wide), w.to(wide), label, *tolerance)
    if w.numel() == 0:
        return
    tolerance = TOLERANCES.get(w.dtype)
    if tolerance is None:
        if not torch.equal(g, w):
            raise Wrong(
                "value",
                f"{label}: {int((g != w).sum())} of {w.numel()} entries differ: {short(g)}, expected {short(w)}",
            )
        return
    close(g, w, label, *tolerance)


def close(g: torch.Tensor, w: torch.Tensor, label: str, rtol: float, atol: float) -> None:
    if w.numel() == 0:
        return
    finite = w[torch.isfinite(w)].abs()
    scale = max(1.0, float(finite.max()) if finite.numel() else 1.0)
    if not torch.allclose(g, w, rtol=rtol, atol=atol * scale, equal_nan=True):
        raise Wrong("value", f"{label}: {short(g)}, expected {short(w)} of shape {tuple(w.shape)}")


def short(t: torch.Tensor) -> str:
    flat = t.flatten()[:6].tolist()
    return (
        "["
        + ", ".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in flat)
        + (", ...]" if t.numel() > 6 else "]")
    )
