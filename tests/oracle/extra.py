"""Samples of ops that OpInfo does not reach by themselves: backward ops, foreach and fused ones, autograd's own."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from oracle.extra_layers import attention, convolutions, losses, norms
from oracle.extra_vision import vision
from oracle.sampling import Sample, ids, r


def chosen() -> Iterator[Sample]:
    table = r(11, 6, grad=True)
    yield "embedding", F.embedding, (ids(11, 4, 3), table), {}
    yield "embedding.padding", F.embedding, (ids(11, 4, 3), table), {"padding_idx": 2}
    for mode in ("sum", "mean"):
        # Where a row is left out, core's kernel passes over a last offset that is too small.
        for row, last in ((None, 4), (2, 3), (7, 3)):
            options = {"mode": mode, "include_last_offset": True, "padding_idx": row}
            bags = torch.tensor([0, 3, last])
            yield f"embedding_bag.last.{mode}.{row}", F.embedding_bag, (ids(5, 4), table, bags), options
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
        yield f"{name}.no_dims", getattr(torch, name), (torch.rand(5, 4) > 0.7, []), {}
        yield f"{name}.no_dims_kept", getattr(torch, name), (torch.randn(5, 4), [], True), {}
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
