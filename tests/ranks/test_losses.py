"""Losses and attention whose dimensions are split: the values are the plain ones, and how little moves."""

from collections import Counter

import torch
import torch.nn.functional as F
import weft
from support.cases import cases_on_worlds, same


def spread(t: torch.Tensor, mesh: weft.DeviceMesh, *axes: str | None) -> torch.Tensor:
    return weft.distribute_tensor(t.detach(), weft.TensorLayout(axes, mesh)).requires_grad_(t.requires_grad)


def sent(trace: weft.Trace) -> Counter:
    return Counter((row.op, row.kind) for row in trace.rows if row.axis != "world")


def of_classes(mesh):
    """One gather for the softmax, one sum backward; the loss stays a pending sum until it is read."""
    scores = torch.randn(6, 8, requires_grad=True)
    for options in ({}, {"label_smoothing": 0.1}, {"weight": torch.linspace(1, 2, 8)}, {"ignore_index": 7}):
        target = torch.tensor([1, 7, options.get("ignore_index", -100), 0, 3, 5])
        want = F.cross_entropy(scores, target, **options)
        (gradient,) = torch.autograd.grad(want, scores)
        split = spread(scores, mesh, None, "a")
        with weft.trace() as trace:
            got = F.cross_entropy(split, target, **options)
            (found,) = torch.autograd.grad(got, split)
        same(got, want, str(options))
        same(found, gradient, str(options))
        if not options:
            expected = {("_log_softmax", "all_gather"): 1, ("_log_softmax_backward_data", "all_reduce"): 1}
            assert sent(trace) == expected, sent(trace)


def of_rows_and_classes(mesh):
    """The number of targets and the loss are summed over the batch's axis in one."""
    if len(mesh.shape) == 1:
        return
    scores, target = torch.randn(8, 6, requires_grad=True), torch.tensor([1, 5, -100, 0, 3, 5, -100, 2])
    want = F.cross_entropy(scores, target)
    (gradient,) = torch.autograd.grad(want, scores)
    split = spread(scores, mesh, "a", "b")
    with weft.trace() as trace:
        got = F.cross_entropy(split, spread(target, mesh, "a"))
        (found,) = torch.autograd.grad(got, split)
    same(got, want)
    same(found, gradient)
    assert sent(trace) == {
        ("_log_softmax", "all_gather"): 1,
        ("nll_loss_forward", "all_reduce"): 1,
        ("_log_softmax_backward_data", "all_reduce"): 1,
    }, sent(trace)


def of_rows(mesh):
    """The loss is known with the number of targets: reading it sends nothing."""
    scores, target = torch.randn(8, 6, requires_grad=True), torch.tensor([1, 5, -100, 0, 3, 5, -100, 2])
    want = F.cross_entropy(scores, target)
    split = spread(scores, mesh, "a", None)
    with weft.trace() as trace:
        got = F.cross_entropy(split, spread(target, mesh, "a"))
        value = got.item()
    assert abs(value - want.item()) < 1e-6
    assert sent(trace) == {("nll_loss_forward", "all_reduce"): 1}, sent(trace)


def of_images(mesh):
    scores, target = torch.randn(4, 6, 3, 5, requires_grad=True), torch.randint(0, 6, (4, 3, 5))
    target[0, 0] = -100
    want = F.cross_entropy(scores, target)
    (gradient,) = torch.autograd.grad(want, scores)
    for axes in (("a", None, None, None), (None, "a", None, None), (None, None, None, "a")):
        split = spread(scores, mesh, *axes)
        got = F.cross_entropy(split, target)
        same(got, want, str(axes))
        same(torch.autograd.grad(got, split)[0], gradient, str(axes))


def half(mesh):
    scores, target = torch.randn(300, 8, dtype=torch.bfloat16), torch.randint(0, 8, (300,))
    want = F.cross_entropy(scores.float(), target).item()
    for axes, lies in (((None, "a"), (None,)), (("a", None), ("a",))):
        got = F.cross_entropy(spread(scores, mesh, *axes), spread(target, mesh, *lies))
        assert got.dtype == torch.bfloat16
        assert abs(got.item() - want) < 0.02 * abs(want)


def masked_heads(mesh):
    """A mask for all heads moves nothing where heads are split, with or without shared keys and values."""
    heads = 4 * mesh.shape[0]
    for groups in (1, 2):
        q = torch.randn(2, heads, 5, 8, requires_grad=True)
        k, v = (torch.randn(2, heads // groups, 5, 8, requires_grad=True) for _ in range(2))
        for mask in (
            torch.randn(5, 5) > 0,
            torch.randn(2, 1, 5, 5),
            torch.randn(1, 1, 1, 5),
            torch.randn(2, heads, 5, 5),
        ):
            if mask.dtype == torch.bool:
                mask.fill_diagonal_(True)
            want = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=groups > 1)
            gradients = torch.autograd.grad(want.sum(), (q, k, v))
            split = [spread(t, mesh, None, "a", None, None) for t in (q, k, v)]
            with weft.trace() as trace:
                got = F.scaled_dot_product_attention(*split, attn_mask=mask, enable_gqa=groups > 1)
                found = torch.autograd.grad(got.sum(), split)
            same(got, want)
            for g, w in zip(found, gradients, strict=True):
                same(g, w)
            assert not sent(trace), sent(trace)


CASES = {f.__name__: f for f in (of_classes, of_rows_and_classes, of_rows, of_images, half, masked_heads)}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, 4, mesh="every")
