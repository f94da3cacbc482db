"""Embeddings with sparse gradients on sharded parameters, with all optimizers that take them, and what plain sparse
tensors do beside sharded ones: plain torch's numbers."""

import warnings

import pytest
import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same, whole
from torch import nn

ROWS, WIDTH = 11, 6
LAYOUTS = {"rows": ("a", None), "columns": (None, "a"), "whole": (None, None), "plain": None}
OPTIMIZERS = {
    "SparseAdam": torch.optim.SparseAdam,
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}
MODULES = {
    "Embedding": lambda: nn.Embedding(ROWS, WIDTH, sparse=True),
    "Embedding with padding": lambda: nn.Embedding(ROWS, WIDTH, padding_idx=3, sparse=True),
    "EmbeddingBag sum": lambda: nn.EmbeddingBag(ROWS, WIDTH, mode="sum", sparse=True),
    "EmbeddingBag mean": lambda: nn.EmbeddingBag(ROWS, WIDTH, mode="mean", sparse=True),
}


def batch(step: int) -> torch.Tensor:
    return torch.randint(ROWS, (5, 4), generator=torch.Generator().manual_seed(step))


def train(make, optimizer, mesh=None, layout=None, split_batch=False) -> list[torch.Tensor]:
    torch.manual_seed(1)
    module = make()
    if layout is not None:
        weft.distribute_module(module, {"weight": layout}, mesh=mesh)
    steps, seen = optimizer(module.parameters()), []
    for step in range(3):
        indices = batch(step)
        if split_batch:
            indices = weft.distribute_tensor(indices, ("a", None), mesh)
        steps.zero_grad()
        out = module(indices)
        loss = (out * torch.arange(1.0, WIDTH + 1)).square().mean()
        loss.backward()
        grad = module.weight.grad
        assert grad.is_sparse and grad.shape == module.weight.shape, f"{grad.layout}, {grad.shape}"
        if layout is not None:
            assert weft.layout_of(grad) == weft.layout_of(module.weight)
        seen += [loss, grad.to_dense()]
        steps.step()
        seen.append(whole(module.weight).clone())
    return seen


def trained_alike(make, optimizer, mesh, layout, split_batch) -> None:
    want = train(make, optimizer)
    got = train(make, optimizer, mesh, layout, split_batch)
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        same(g, w, f"value {i}")


def sums(mesh, layout, dtype) -> None:
    """Sparse tensors of one and of two sparse dimensions, not coalesced, added to a sharded one."""
    generator = torch.Generator().manual_seed(2)
    plain = torch.randn(ROWS, WIDTH, generator=generator).to(dtype)
    rows = torch.randint(ROWS, (1, 7), generator=generator)
    places = torch.cat([rows, torch.randint(WIDTH, (1, 7), generator=generator)])
    added = [
        torch.sparse_coo_tensor(rows, torch.randn(7, WIDTH, generator=generator).to(dtype), (ROWS, WIDTH)),
        torch.sparse_coo_tensor(places, torch.randn(7, generator=generator).to(dtype), (ROWS, WIDTH)),
        torch.sparse_coo_tensor(torch.empty(1, 0).long(), torch.empty(0, WIDTH, dtype=dtype), (ROWS, WIDTH)),
    ]
    for i, sparse in enumerate(added):
        x = weft.distribute_tensor(plain, layout, mesh)
        same(x + sparse, plain + sparse, f"{i}: x + sparse")
        same(torch.add(x, sparse, alpha=-2), torch.add(plain, sparse, alpha=-2), f"{i}: alpha")
        view = weft.distribute_tensor(plain, layout, mesh)
        if i == 1:
            view.t().add_(sparse.t())
        else:
            view.view_as(view).add_(sparse)
        same(view, plain + sparse, f"{i}: through a view")
        assert weft.layout_of(x + sparse) == weft.layout_of(x)
        masked, want = x.sparse_mask(sparse.coalesce()), plain.sparse_mask(sparse.coalesce())
        same(masked.to_dense(), want.to_dense(), f"{i}: sparse_mask")
        assert masked.is_coalesced()
    pending = weft.distribute_tensor(plain, weft.TensorLayout((None, None), mesh, partial={"a": "sum"}))
    same(pending.add_(added[0]), plain + added[0], "a pending sum")


def made_of_shards(mesh) -> None:
    indices, values = torch.tensor([[0, 4, 4, 2]]), torch.arange(8.0).view(4, 2)
    got = torch.sparse_coo_tensor(
        weft.distribute_tensor(indices, (None, "a"), mesh), weft.distribute_tensor(values, ("a", None), mesh), (5, 2)
    )
    assert got.is_sparse
    same(got.to_dense(), torch.sparse_coo_tensor(indices, values, (5, 2)).to_dense())


def wrong_shape(mesh) -> None:
    x = weft.distribute_tensor(torch.zeros(4, 2), ("a", None), mesh)
    with pytest.raises(RuntimeError, match=r"\[add_\] a sparse tensor of shape \[5, 2\].*\[4, 2\]"):
        x.add_(torch.zeros(5, 2).to_sparse())


def cases(mesh) -> dict:
    found = {}
    for name, make in MODULES.items():
        for optimizer in OPTIMIZERS if name == "Embedding" else ["SparseAdam"]:
            for layout_name, layout in LAYOUTS.items():
                for split in (False, True):
                    if layout is None and not split:
                        continue
                    key = f"{name}, {optimizer}, {layout_name}, {'split' if split else 'whole'} batch"
                    found[key] = lambda a=(make, OPTIMIZERS[optimizer], mesh, layout, split): trained_alike(*a)
    for name, layout in LAYOUTS.items():
        for dtype in (torch.float32, torch.complex64) if layout is not None else ():
            found[f"sums, {name}, {dtype}"] = lambda a=(mesh, layout, dtype): sums(*a)
    return found | {"made of shards": lambda: made_of_shards(mesh), "wrong shape": lambda: wrong_shape(mesh)}


def run_all(world: int) -> dict[str, str]:
    warnings.filterwarnings("ignore", category=UserWarning)  # that sparse tensors are checked
    return {f"{mesh}, {k}": v for mesh in meshes(world) for k, v in run_cases(cases(mesh)).items()}


results = on_worlds(run_all, 2, 3)


def test_all(results):
    assert len(results[0]) > 40
    for name in results[0]:
        check(results, name)
