"""Samples of losses, norms, attention and convolutions that OpInfo has not."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from oracle.sampling import Sample, ids, r


def losses() -> Iterator[Sample]:
    for reduction in ("none", "mean", "sum"):
        for loss in (F.mse_loss, F.smooth_l1_loss, F.huber_loss, F.soft_margin_loss, F.l1_loss):
            yield loss.__name__ + "." + reduction, loss, (r(5, 4, grad=True), r(5, 4)), {"reduction": reduction}
        prob = torch.rand(5, 4).mul(0.9).add(0.05).requires_grad_()
        yield "bce." + reduction, F.binary_cross_entropy, (prob, torch.rand(5, 4)), {"reduction": reduction}
        yield (
            "bce_weight." + reduction,
            F.binary_cross_entropy,
            (prob, torch.rand(5, 4)),
            {"reduction": reduction, "weight": torch.rand(4)},
        )
        logits = F.binary_cross_entropy_with_logits
        yield "bce_logits." + reduction, logits, (r(5, 4, grad=True), torch.rand(5, 4)), {"reduction": reduction}
        target = torch.tensor([1, 3, -100, 0, 6, 2, 2])
        for weight in (None, torch.rand(7)):
            for smoothing in (0.0, 0.1):
                name = f"cross_entropy.{reduction}.{'weighted' if weight is not None else 'plain'}.{smoothing}"
                keywords = {"reduction": reduction, "weight": weight, "label_smoothing": smoothing}
                yield name, F.cross_entropy, (r(7, 7, grad=True), target), keywords
        yield "nll2d." + reduction, F.nll_loss, (r(3, 5, 4, 2, grad=True), ids(5, 3, 4, 2)), {"reduction": reduction}
        yield "kl_div." + reduction, F.kl_div, (r(6, 5, grad=True), torch.rand(6, 5)), {"reduction": reduction}
        ones = torch.ones(6)
        yield (
            "cosine." + reduction,
            F.cosine_embedding_loss,
            (r(6, 5, grad=True), r(6, 5), ones),
            {"reduction": reduction},
        )

    # Core's kernel orders the gradient otherwise than the transposed input.
    def loss_of_transposed(x: torch.Tensor, w: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss((x @ w).transpose(1, 2), target)

    yield "mse.transposed", loss_of_transposed, (r(4, 3, 5, grad=True), r(5, 6, grad=True), r(4, 6, 3)), {}


def norms() -> Iterator[Sample]:
    x, w, b = r(4, 3, 6, grad=True), r(6, grad=True), r(6, grad=True)
    yield "layer_norm", F.layer_norm, (x, (6,), w, b), {}
    yield "layer_norm.2d", F.layer_norm, (x, (3, 6), r(3, 6, grad=True), r(3, 6, grad=True)), {}
    yield "layer_norm.bare", F.layer_norm, (x, (6,)), {}
    yield "rms_norm", F.rms_norm, (x, (6,), w), {}
    c, d = r(6, grad=True), r(6, grad=True)
    image = r(4, 6, 3, 5, grad=True)
    for groups in (1, 2, 3, 6):
        yield f"group_norm.{groups}", F.group_norm, (image, groups, c, d), {}
    yield "group_norm.bare", F.group_norm, (image, 2), {}

    def batch_norm(x: torch.Tensor, mean: Any, var: Any, w: Any, b: Any, training: bool) -> Any:
        mean, var = (mean.clone(), var.clone()) if mean is not None else (None, None)
        out = F.batch_norm(x, mean, var, w, b, training, 0.3)
        return (out, mean, var) if mean is not None else out

    stats = (r(6), torch.rand(6).add(0.5))
    yield "batch_norm.train", batch_norm, (image, *stats, c, d, True), {}
    yield "batch_norm.eval", batch_norm, (image, *stats, c, d, False), {}
    yield "batch_norm.no_stats", batch_norm, (image, None, None, c, d, True), {}
    yield "batch_norm.bare", batch_norm, (r(7, 6, grad=True), *stats, None, None, True), {}
    yield "instance_norm", F.instance_norm, (image, *stats, c, d), {}
    few = r(3, 2, 3, 4, grad=True)  # fewer channels than ranks
    yield "instance_norm.few", F.instance_norm, (few, r(2), torch.rand(2).add(0.5), r(2, grad=True), None), {}
    one = (r(4, 1, 3, grad=True), r(1), torch.rand(1).add(0.5), r(1, grad=True), r(1, grad=True), True)
    yield "batch_norm.one", batch_norm, one, {}
    for p in (1, 2, 3, 0, 0.5, float("inf"), -float("inf")):
        yield f"vector_norm.{p}", torch.linalg.vector_norm, (r(5, 4, grad=p != 0), p), {}
        yield f"vector_norm.dim.{p}", torch.linalg.vector_norm, (r(5, 4, grad=p != 0), p, 0), {}

    def clip(a: torch.Tensor, b: torch.Tensor, p: float) -> Any:
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        a.grad, b.grad = a.detach() * 3, b.detach() * 2
        norm = torch.nn.utils.clip_grad_norm_([a, b], 0.7, norm_type=p)
        return norm, a.grad, b.grad

    for p in (1.0, 2.0, float("inf")):
        yield f"clip_grad_norm.{p}", clip, (r(5, 4), r(3)), {"p": p}
    weight = torch.rand(5, 3, 2).requires_grad_()
    yield "weight_norm", torch._weight_norm, (weight, r(5, 1, 1, grad=True), 0), {}
    yield "weight_norm.last", torch._weight_norm, (weight, r(1, 1, 2, grad=True), 2), {}


def attention() -> Iterator[Sample]:
    sdpa = F.scaled_dot_product_attention
    q, k, v = r(2, 4, 6, 8, grad=True), r(2, 4, 6, 8, grad=True), r(2, 4, 6, 8, grad=True)
    yield "sdpa", sdpa, (q, k, v), {}
    yield "sdpa.causal", sdpa, (q, k, v), {"is_causal": True}
    yield "sdpa.cross", sdpa, (q, r(2, 4, 5, 8, grad=True), r(2, 4, 5, 8, grad=True)), {}
    for mask in (r(2, 4, 6, 6), r(6, 6), r(2, 1, 6, 6), r(1, 1, 1, 6), torch.rand(2, 1, 6, 6) > 0.3):
        yield f"sdpa.mask{list(mask.shape)}{str(mask.dtype)[6:]}", sdpa, (q, k, v), {"attn_mask": mask}
    few = (r(2, 2, 6, 8, grad=True), r(2, 2, 6, 8, grad=True))
    yield "sdpa.gqa", sdpa, (q, *few), {"enable_gqa": True}
    yield "sdpa.gqa.causal", sdpa, (q, *few), {"enable_gqa": True, "is_causal": True}
    yield "sdpa.odd", sdpa, (r(3, 3, 5, 4, grad=True), r(3, 3, 7, 4, grad=True), r(3, 3, 7, 4, grad=True)), {}


def convolutions() -> Iterator[Sample]:
    for groups, cin, cout in ((1, 4, 6), (2, 4, 6), (4, 4, 8), (1, 3, 5)):
        w, b = r(cout, cin // groups, 3, 3, grad=True), r(cout, grad=True)
        x = r(3, cin, 6, 5, grad=True)
        yield f"conv2d.g{groups}.{cin}", F.conv2d, (x, w, b), {"padding": 1, "groups": groups}
        yield f"conv2d.nobias.g{groups}.{cin}", F.conv2d, (x, w), {"stride": 2, "groups": groups}
        wt = r(cin, cout // groups, 3, 3, grad=True)
        yield f"conv_transpose2d.g{groups}.{cin}", F.conv_transpose2d, (x, wt, b), {"groups": groups, "stride": 2}
    yield "conv1d", F.conv1d, (r(3, 4, 9, grad=True), r(6, 4, 3, grad=True), r(6, grad=True)), {}
    yield "conv2d.single", F.conv2d, (r(4, 6, 5, grad=True), r(6, 4, 3, 3, grad=True)), {}
    x = r(3, 4, 6, 6, grad=True)
    for pool in (F.max_pool2d, F.avg_pool2d):
        yield pool.__name__, pool, (x, 2), {}
    for size in (1, 2, 3):
        yield f"adaptive_avg_pool2d.{size}", F.adaptive_avg_pool2d, (x, size), {}
        yield f"adaptive_max_pool2d.{size}", F.adaptive_max_pool2d, (x, size), {}
    nhwc = r(3, 6, 5, 4, grad=True)
    yield "conv2d.nhwc", lambda x, w: F.conv2d(x.permute(0, 3, 1, 2), w), (nhwc, r(6, 4, 3, 3, grad=True)), {}
    shuffled = r(3, 2, 3, 8, grad=True)
    yield "pixel_shuffle.nhwc", lambda x: F.pixel_shuffle(x.permute(0, 3, 1, 2), 2), (shuffled,), {}
    yield "elu.transposed", lambda x, y: F.elu(x).transpose(0, 1) * y, (r(4, 3, 5, grad=True), r(3, 4, 5)), {}
    for mode in ("nearest", "bilinear", "bicubic"):
        yield f"interpolate.{mode}", F.interpolate, (x,), {"scale_factor": 2.0, "mode": mode}
    yield "pixel_shuffle", F.pixel_shuffle, (r(3, 8, 2, 3, grad=True), 2), {}
    yield "grid_sample", F.grid_sample, (x, torch.rand(3, 5, 4, 2).sub(0.5).requires_grad_()), {"align_corners": False}
