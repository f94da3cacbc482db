"""Bags of rows of a table that is split by rows or columns: plain torch's numbers; of split rows only those travel that
are asked for."""

import itertools
from collections.abc import Iterator

import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same
from torch import nn

ROWS, WIDTH = 1000, 4
ASKED = torch.tensor([1, 1, 5, 49, 5, 900])
BAGS = {
    "matrix": (ASKED.view(2, 3), None),
    "offsets": (ASKED, torch.tensor([0, 2, 2])),  # the second bag is empty
    "last offset": (ASKED, torch.tensor([0, 2, 2, 6])),
    "nothing": (ASKED[:0], torch.tensor([0, 0])),
}


def options() -> Iterator[dict]:
    for mode, sparse, weighted, padding in itertools.product(("sum", "mean", "max"), *[(False, True)] * 3):
        if not (weighted and mode != "sum") and not (sparse and mode == "max"):
            yield {"mode": mode, "sparse": sparse, "weighted": weighted, "padding": padding}


def played(bags: str, layout, mesh, mode: str, sparse: bool, weighted: bool, padding: bool, dtype, split: bool) -> list:
    torch.manual_seed(1)
    last, padding_idx = bags == "last offset", 5 if padding else None
    module = nn.EmbeddingBag(ROWS, WIDTH, mode=mode, sparse=sparse, include_last_offset=last, padding_idx=padding_idx)
    indices, offsets = (None if x is None else x.to(dtype) for x in BAGS[bags])
    weights = torch.linspace(0.5, 2, indices.numel()).view_as(indices).requires_grad_() if weighted else None
    if layout is not None:
        weft.distribute_module(module, {"weight": layout}, mesh=mesh)
        if split:
            indices = weft.distribute_tensor(indices, ("a",) + (None,) * (indices.dim() - 1), mesh)
    out = module(indices, offsets, per_sample_weights=weights)
    out.square().sum().backward()
    with torch.no_grad():
        again = module(indices, offsets, per_sample_weights=weights)
    return [out, module.weight.grad.to_dense(), again] + ([weights.grad] if weighted else [])


def alike(mesh, bags: str, layout, how: dict) -> None:
    for dtype, split in ((torch.int64, False), (torch.int32, True)):
        want = played(bags, None, mesh, dtype=dtype, split=split, **how)
        got = played(bags, layout, mesh, dtype=dtype, split=split, **how)
        for i, (g, w) in enumerate(zip(got, want, strict=True)):
            same(g, w, f"{dtype}, value {i}")


def sent(mesh) -> None:
    """What is sent for a table so large that no plan would gather it to save a message."""
    for mode in ("sum", "mean", "max"):
        module = nn.EmbeddingBag(200 * ROWS, WIDTH, mode=mode, sparse=mode != "max")
        weft.distribute_module(module, {"weight": ("a", None)}, mesh=mesh)
        with weft.trace() as collectives:
            module(*BAGS["offsets"]).sum().backward()
        asked = ASKED.unique().numel() * WIDTH * 4
        of_table = sum(row.bytes for row in collectives.rows if row.path == "weight")
        assert 0 < of_table <= 2 * asked, collectives


def run_all(world: int) -> dict[str, str]:
    found = {}
    for mesh in meshes(world):
        found[f"{mesh}, sent"] = lambda m=mesh: sent(m)
        for bags, layout, how in itertools.product(BAGS, (("a", None), (None, "a")), options()):
            name = f"{mesh}, {bags}, {layout}, {', '.join(str(v) for v in how.values())}"
            found[name] = lambda a=(mesh, bags, layout, how): alike(*a)
    return run_cases(found)


results = on_worlds(run_all, 2, 3)


def test_all(results):
    assert len(results[0]) > 80
    for name in results[0]:
        check(results, name)
