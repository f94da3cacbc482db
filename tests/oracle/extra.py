"""Samples of ops that OpInfo does not reach by themselves: backward ops, foreach and fused ones, autograd's own."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from oracle.extra_vision import vision

aten = torch.ops.aten


def r(*sizes: int, grad: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(sizes, dtype=dtype).requires_grad_(grad)


def ids(high: int, *sizes: int) -> torch.Tensor:
    return torch.randint(0, high, sizes)


Sample = tuple[str, Callable[..., Any], tuple]


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


def chosen() -> Iterator[Sample]:
    table = r(11, 6, grad=True)
    yield "embedding", F.embedding, (ids(11, 4, 3), table), {}
    yield "embedding.padding", F.embedding, (ids(11, 4, 3), table), {"padding_idx": 2}
    yield "embedding.freq", F.embedding, (ids(5, 4, 3), table), {"scale_grad_by_freq": True}
    x = r(5, 4, grad=True)
    yield "gather", torch.gather, (x, 0, ids(5, 3, 4)), {}
    yield "gather.short", torch.gather, (x, 1, ids(4, 1, 7)), {}
    yield "gather.one", torch.gather, (x, 0, ids(5, 7, 1)), {}
    yield "scatter.one", torch.scatter, (x, 1, ids(4, 1, 2), r(5, 4, grad=True)), {}
    yield "scatter.value", torch.scatter, (x, 0, ids(5, 2, 1), 1.5), {}
    yield "scatter_add.one", torch.scatter_add, (x, 0, ids(5, 6, 1), r(6, 4, grad=True)), {}
    yield "index_add", torch.index_add, (x, 0, ids(5, 6), r(6, 4, grad=True)), {}
    yield "index_copy", torch.index_copy, (x, 1, torch.tensor([2, 0]), r(5, 2, grad=True)), {}
    yield "index_fill", torch.index_fill, (x, 0, ids(5, 2), 0.5), {}
    yield "index", lambda x, i: x[i], (x, ids(5, 3, 2)), {}
    yield "index.second", lambda x, i: x[:, i], (x, ids(4, 3)), {}
    yield "index.both", lambda x, i, j: x[i, j], (x, ids(5, 3), ids(4, 3)), {}
    yield "index.mask", lambda x, m: x[m], (x, torch.rand(5, 4) > 0.5), {}
    yield "index.mask_rows", lambda x, m: x[:, m], (r(3, 5, 4, grad=True), torch.rand(5) > 0.5), {}
    yield "index.mask_and_index", lambda x, m, i: x[m, i], (x, torch.arange(5) % 2 == 0, torch.tensor([3, 0, 1])), {}
    yield "index.apart", lambda x, i, j: x[i, :, j], (r(5, 4, 3, grad=True), ids(5, 2), ids(3, 2)), {}


def put(x: torch.Tensor, i: torch.Tensor, v: torch.Tensor, accumulate: bool) -> torch.Tensor:
    return x.index_put((i,), v, accumulate)


def assign(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[1:3] = v
    y[:, -1] = 0.25
    y[0, 1:].mul_(2)
    return y


def written() -> Iterator[Sample]:
    x = r(5, 4, grad=True)
    yield "index_put", put, (x, torch.tensor([3, 0]), r(2, 4, grad=True), False), {}
    yield "index_put.accumulate", put, (x, ids(5, 7), r(7, 4, grad=True), True), {}
    mask = torch.rand(5, 4) > 0.5
    yield "index_put.mask", put, (r(5, 4, 3, grad=True), mask, r(3, grad=True), False), {}
    yield "index_put.mask_accumulate", put, (r(5, 4, 3, grad=True), mask, r(1, 3, grad=True), True), {}
    yield "index_put.mask_values", put, (r(5, 4, 3, grad=True), mask, r(int(mask.sum()), 3, grad=True), False), {}
    yield "index_put.mask_scalar", put, (x, mask, r(grad=True), False), {}
    yield "index_put.scalar", put, (x, torch.tensor([3, 0]), r(grad=True), True), {}
    yield "assign", assign, (x, r(2, 4, grad=True)), {}


def joined() -> Iterator[Sample]:
    yield "cat", lambda *t: torch.cat(t), (r(3, 4, grad=True), r(2, 4, grad=True), r(0)), {}
    yield "cat.second", lambda *t: torch.cat(t, 1), (r(3, 4, grad=True), r(3, 2, grad=True)), {}
    yield "stack", lambda *t: torch.stack(t, 1), (r(3, 4, grad=True), r(3, 4, grad=True)), {}


def extremes() -> Iterator[Sample]:
    for name in ("argmax", "argmin"):
        for dim in (None, 0, 1):
            ties = torch.tensor([[1.0, 3, 3, 0], [3, 1, 3, 0], [0, 0, 0, 0], [-1, 2, 2, 2], [3, 1, 1, 1]])
            yield f"{name}.{dim}", getattr(torch, name), (ties, dim), {}
            yield f"{name}.keepdim.{dim}", getattr(torch, name), (ties, dim, True), {}
    for name in ("max", "min"):
        yield f"{name}.dim", getattr(torch, name), (r(5, 4, grad=True), 0), {}
        yield f"{name}.nan", getattr(torch, name), (torch.tensor([[1.0, float("nan"), 2], [3, 4, 0]]), 0), {}
        yield f"a{name}.nan", getattr(torch, "a" + name), (torch.tensor([[1.0, float("nan"), 2], [3, 4, 0]]), 0), {}
        yield f"a{name}.ties", getattr(torch, "a" + name), (torch.tensor([1.0, 2, 2, 0]).requires_grad_(),), {}
        yield f"{name}.all", getattr(torch, name), (r(1, 2, grad=True),), {}
    for name in ("any", "all"):
        yield f"{name}", getattr(torch, name), (torch.rand(5, 4) > 0.7,), {}
        yield f"{name}.dim", getattr(torch, name), (torch.rand(5, 4) > 0.7, 0), {}
        yield (
            f"is_{name}_true",
            getattr(torch, {"any": "_is_any_true", "all": "_is_all_true"}[name]),
            (torch.rand(5) > 0.5,),
            {},
        )


def indexing() -> Iterator[Sample]:
    for some in (chosen, written, joined, extremes):
        yield from some()


def grouped() -> Iterator[Sample]:
    ends = torch.tensor([2, 5, 6], dtype=torch.int32)
    rows, experts = r(6, 8, grad=True), r(3, 8, 4, grad=True)
    yield "grouped_mm.rows", torch._grouped_mm, (rows, experts, ends), {}
    yield "grouped_mm.inner", torch._grouped_mm, (r(4, 6), r(6, 8), ends), {}
    yield "grouped_mm.columns", torch._grouped_mm, (r(3, 4, 8), r(8, 6), ends), {}
    yield "grouped_mm.batch", torch._grouped_mm, (r(3, 4, 8, grad=True), experts), {}


def recurrent() -> Iterator[Sample]:
    def run(cls: type, lengths: list[int] | None, **options: Any) -> Callable:
        def call(x: torch.Tensor, *weights: torch.Tensor) -> Any:
            module = cls(4, 3, batch_first=True, **options)
            named = dict(zip([name for name, _ in module.named_parameters()], weights, strict=True))
            if lengths is not None:
                x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
            out, state = torch.func.functional_call(module, named, (x,))
            if lengths is not None:
                out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
            return out, state

        return call

    x = r(3, 5, 4, grad=True)
    for cls in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        for lengths in (None, [5, 3, 2]):
            for options in ({}, {"bias": False}, {"bidirectional": True}):
                weights = [r(*p.shape, grad=True) for p in cls(4, 3, **options).parameters()]
                name = f"{cls.__name__.lower()}.{'packed' if lengths else 'padded'}.{''.join(options) or 'plain'}"
                yield name, run(cls, lengths, **options), (x, *weights), {}


def steps() -> Iterator[Sample]:
    def adam(fused: bool, foreach: bool) -> Callable:
        def step(p: torch.Tensor, q: torch.Tensor, g: torch.Tensor, h: torch.Tensor) -> Any:
            p, q = p.clone().requires_grad_(), q.clone().requires_grad_()
            optimizer = torch.optim.AdamW([p, q], lr=0.1, weight_decay=0.1, fused=fused, foreach=foreach)
            for scale in (1, -2):
                p.grad, q.grad = g * scale, h * scale
                optimizer.step()
            return p.detach(), q.detach()

        return step

    arguments = (r(5, 4), r(3), r(5, 4), r(3))
    yield "adamw.foreach", adam(False, True), arguments, {}
    yield "adamw.fused", adam(True, False), arguments, {}
    yield "adamw.single", adam(False, False), arguments, {}

    def unscale(p: torch.Tensor, q: torch.Tensor, bad: float) -> Any:
        p, q, found = p.clone(), q.clone(), torch.zeros(1)
        p[-1, -1] = bad
        torch._amp_foreach_non_finite_check_and_unscale_([p, q], found, torch.tensor(0.5))
        return p, q, found

    for bad in (1.0, float("inf"), float("nan")):
        yield f"unscale.{bad}", unscale, (r(5, 4), r(3), bad), {}

    def foreach(*tensors: torch.Tensor) -> Any:
        tensors = [t.clone() for t in tensors]
        torch._foreach_add_(tensors, [t * 2 for t in tensors], alpha=0.5)
        torch._foreach_mul_(tensors, 0.5)
        torch._foreach_lerp_(tensors, [t + 1 for t in tensors], 0.25)
        return tensors, torch._foreach_norm(tensors), torch._foreach_sqrt([t.abs() for t in tensors])

    yield "foreach", foreach, (r(5, 4), r(3), r(2, 2, 2)), {}
    yield "foreach_max", lambda *t: torch._foreach_max(list(t)), (r(5, 4), r(3)), {}


def memory() -> Iterator[Sample]:
    x = r(4, 6, grad=True)
    yield "as_strided", lambda x: x.as_strided((4, 3), (6, 2), 1), (x,), {}
    yield "as_strided.transposed", lambda x: x.as_strided((6, 4), (1, 6)), (x,), {}
    yield "new_empty_strided", lambda x: x.new_empty_strided((4, 6), (1, 4)).copy_(x), (x.detach(),), {}
    yield "copy", lambda x, y: (x * 1).copy_(y), (x, r(6, grad=True)), {}
    yield "copy.cast", lambda x, y: (x * 1).copy_(y), (x, r(4, 6, dtype=torch.float64)), {}
    yield "cast", lambda x: x.to(torch.float64).to(torch.bfloat16).float(), (x,), {}
    yield "sum.int", lambda x: x.sum(), (torch.randint(-100, 100, (5, 4), dtype=torch.int8),), {}
    yield "view_as_real_copy", torch.view_as_real_copy, (torch.randn(2, 2, dtype=torch.complex64),), {}
    yield "linear.3d", F.linear, (r(3, 5, 6, grad=True), r(4, 6, grad=True), r(4, grad=True)), {}
    yield "matmul.3d", torch.matmul, (r(3, 5, 6, grad=True), r(3, 6, 2, grad=True)), {}
    yield (
        "einsum",
        lambda a, b: torch.einsum("bhqd,bhkd->bhqk", a, b),
        (r(2, 3, 4, 5, grad=True), r(2, 3, 6, 5, grad=True)),
        {},
    )
    yield "var_mean", lambda x: torch.var_mean(x, 0), (x,), {}
    yield "std_mean", lambda x: torch.std_mean(x, 1, keepdim=True), (x,), {}


def dropouts() -> Iterator[Sample]:
    yield "dropout", F.dropout, (r(6, 5, grad=True), 0.4), {}
    yield "dropout.in_place", lambda x: F.dropout(x * 1, 0.4, True, True), (r(6, 5, grad=True),), {}


FAMILIES: dict[str, Callable[[], Iterator[tuple]]] = {
    "losses": losses,
    "norms": norms,
    "attention": attention,
    "convolutions": convolutions,
    "indexing": indexing,
    "grouped": grouped,
    "recurrent": recurrent,
    "steps": steps,
    "memory": memory,
    "dropouts": dropouts,
    "vision": vision,
}


def samples(family: str) -> list[tuple[str, Callable, tuple, dict]]:
    torch.manual_seed(5)
    return list(FAMILIES[family]())
