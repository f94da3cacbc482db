"""Activations split over the sequence: what moves, and that the values are the plain ones."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
import weft
from torch import nn


def mesh(n: int) -> weft.DeviceMesh:
    return weft.DeviceMesh((n,), ("m",), device_type="cpu")


def lay_out(t: torch.Tensor, where: weft.DeviceMesh, dim: int) -> torch.Tensor:
    axes: list[str | None] = [None] * t.dim()
    axes[dim] = "m"
    return weft.distribute_tensor(t.detach(), weft.TensorLayout(axes, where)).requires_grad_(t.requires_grad)


class Residual(nn.Module):
    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.norm, self.drop = norm, nn.Dropout(0.2)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))


def modules(width: int) -> dict[str, nn.Module]:
    return {
        "linear": nn.Linear(width, width),
        "no_bias": nn.Linear(width, 2 * width, bias=False),
        "layer_norm": nn.LayerNorm(width),
        "rms_norm": nn.RMSNorm(width),
        "gelu": nn.GELU(),
        "dropout": nn.Dropout(0.3),
        "residual": Residual(nn.LayerNorm(width), width),
        "residual_rms": Residual(nn.RMSNorm(width), width),
    }


def step(n: int, shape: tuple[int, ...]) -> dict[str, tuple]:
    """What moved forward and backward, and the bytes of its parameters, for each module."""
    with weft.random_mode("replay"):
        return as_plain(mesh(n), shape)


def as_plain(where: weft.DeviceMesh, shape: tuple[int, ...]) -> dict[str, tuple]:
    out = {}
    torch.manual_seed(1)
    for name, plain in modules(shape[-1]).items():
        sharded = copy.deepcopy(plain)
        weft.distribute_module(sharded, {}, mesh=where)
        x = torch.randn(shape, requires_grad=True)
        y = lay_out(x, where, len(shape) - 2)
        torch.manual_seed(2)
        want = plain(x)
        torch.manual_seed(2)
        with weft.trace() as forward:
            got = sharded(y)
        head = torch.randn_like(want)
        want.backward(head)
        sharded_head = lay_out(head, where, len(shape) - 2)
        with weft.trace() as backward:
            got.backward(sharded_head)
            _ = [p.grad for p in sharded.parameters()]
        close = torch.testing.assert_close
        close(weft.full_tensor(got), want, rtol=1e-4, atol=1e-4)
        close(weft.full_tensor(y.grad), x.grad, rtol=1e-4, atol=1e-4)
        assert weft.layout_of(y.grad) == weft.layout_of(y)
        for (path, p), q in zip(plain.named_parameters(), sharded.parameters(), strict=True):
            close(
                weft.full_tensor(q.grad), p.grad, rtol=1e-3, atol=1e-3, msg=lambda m, at=f"{name} {path}": f"{at}: {m}"
            )
        size = sum(p.numel() * 4 for p in plain.parameters())
        out[name] = (
            [tuple(r) for r in forward.rows],
            [(r.op, r.kind) for r in backward.rows],
            size,
            backward.total_bytes,
        )
    return out


def test_only_weight_gradients_move(ranks2, ranks3):
    for ranks, n in ((ranks2, 2), (ranks3, 3)):
        for shape in ((4, 64, 16), (250, 16), (2, 3, 50, 16), (3, 61, 16)):
            for name, (forward, backward, size, moved) in ranks(step, n, shape, timeout=120)[0].items():
                what = f"{name} {shape} on {n}: {forward} {backward}"
                assert not forward, what
                # All weights' sums in one, once.
                assert backward == ([("gradient", "all_reduce")] if size else []), what
                assert moved == 2 * (n - 1) * size // n, what


def attend(n: int, queries: int, keys: int, options: dict[str, Any], groups: int = 1) -> tuple:
    where = mesh(n)
    torch.manual_seed(3)
    q = torch.randn(2, 4, queries, 8, requires_grad=True)
    k, v = (torch.randn(2, 4 // groups, keys, 8, requires_grad=True) for _ in range(2))
    q_, k_, v_ = (lay_out(t, where, 2) for t in (q, k, v))
    sharded = {
        name: lay_out(t, where, t.dim() - 2) if name == "attn_mask" and t.size(-2) > 1 else t
        for name, t in options.items()
    }
    want = F.scaled_dot_product_attention(q, k, v, enable_gqa=groups > 1, **options)
    with weft.trace() as forward:
        got = F.scaled_dot_product_attention(q_, k_, v_, enable_gqa=groups > 1, **sharded)
    torch.testing.assert_close(weft.full_tensor(got), want, rtol=1e-4, atol=1e-5)
    assert weft.layout_of(got).axes == weft.layout_of(q_).axes
    head = torch.randn_like(want)
    wants = torch.autograd.grad(want, (q, k, v), head)
    sharded_head = lay_out(head, where, 2)
    with weft.trace() as backward:
        gots = torch.autograd.grad(got, (q_, k_, v_), sharded_head)
        sharded_gots = [weft.distribute_tensor(g, weft.layout_of(t)) for g, t in zip(gots, (q_, k_, v_), strict=True)]
    for g, w in zip(sharded_gots, wants, strict=True):
        torch.testing.assert_close(weft.full_tensor(g), w, rtol=1e-3, atol=1e-4)
    # Without what the ranks compare of a redistribution that is asked for the first time.
    moved = ([(r.kind, r.bytes) for r in trace.rows if r.axis != "world"] for trace in (forward, backward))
    return *moved, k.numel() * 4


def test_attention_gathers_keys_and_values_only(ranks2, ranks3):
    for ranks, n in ((ranks2, 2), (ranks3, 3)):
        for queries, keys in ((12, 12), (11, 11), (7, 12), (12, 5)):
            mask = torch.randn(queries, keys)
            for options in (
                {},
                {"is_causal": True},
                {"attn_mask": mask},
                {"attn_mask": mask > -0.5},
                {"attn_mask": mask.expand(2, 1, queries, keys)},
                {"attn_mask": mask[:1].expand(2, 1, 1, keys)},
            ):
                for groups in (1, 2):
                    results = ranks(attend, n, queries, keys, options, groups)
                    for forward, backward, size in results:
                        what = f"{n} {queries} {keys} {options.keys()} {groups}: {forward} {backward}"
                        once = (n - 1) * size // n
                        assert forward == [("all_gather", once)] * 2, what
                        # Gathered again rather than kept; the gradients of both come back as sums.
                        assert [k for k, _ in backward] == ["all_gather"] * 2 + ["reduce_scatter"] * 2, what
                        assert all(bytes == once for _, bytes in backward), what


def test_uneven_and_empty_parts(ranks3):
    """Fewer queries than ranks: still right."""
    for options in ({}, {"is_causal": True}):
        for queries in (1, 4):
            ranks3(attend_values, queries, options)


def attend_values(queries: int, options: dict[str, Any]) -> None:
    where = mesh(3)
    q, k, v = (torch.randn(2, 4, length, 8, requires_grad=True) for length in (queries, 7, 7))
    laid_out = [lay_out(t, where, 2) for t in (q, k, v)]
    want = F.scaled_dot_product_attention(q, k, v, **options)
    got = F.scaled_dot_product_attention(*laid_out, **options)
    torch.testing.assert_close(weft.full_tensor(got), want, rtol=1e-4, atol=1e-5)
    gots = torch.autograd.grad(got.sum(), laid_out)
    for g, w in zip(gots, torch.autograd.grad(want.sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(weft.full_tensor(g), w, rtol=1e-4, atol=1e-5)
