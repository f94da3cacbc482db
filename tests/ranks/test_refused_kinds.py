"""Sparse, nested, quantized and mkldnn tensors are refused where they meet a sharded tensor or would come of one."""

import warnings
from collections.abc import Callable

import torch
import weft
from support.ranks import RankPool

warnings.filterwarnings("ignore", category=UserWarning)  # core's, that these kinds of tensors are in beta


def calls(x: torch.Tensor, mesh: weft.DeviceMesh) -> dict[str, Callable[[], object]]:
    eye, ones = torch.eye(4), torch.ones(4, 4)
    coo, csr = eye.to_sparse(), eye.to_sparse_csr()
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    quantized, mkldnn = torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), ones.to_mkldnn()
    made = {
        "to_sparse": lambda: x.to_sparse(),
        "to_sparse_csr": lambda: x.to_sparse_csr(),
        "to_sparse_bsr": lambda: x.to_sparse_bsr((2, 2)),
        "to_mkldnn": lambda: x.to_mkldnn(),
        "quantize_per_tensor": lambda: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "quantize_per_channel": lambda: torch.quantize_per_channel(x, torch.ones(4), torch.zeros(4), 0, torch.qint8),
        "nested_tensor": lambda: torch.nested.as_nested_tensor([x, x]),
        "jagged": lambda: torch.nested.as_nested_tensor([x, x], layout=torch.jagged),
    }  # fmt: skip
    met = {
        "coo @ x": lambda: coo @ x,
        "x @ coo": lambda: x @ coo,
        "csr @ x": lambda: csr @ x,
        "coo + x": lambda: coo + x,
        "x * coo": lambda: x * coo,
        "sparse.mm": lambda: torch.sparse.mm(coo, x),
        "x.copy_": lambda: x.copy_(coo),
        "coo.copy_": lambda: coo.copy_(x),
        "cat": lambda: torch.cat([x, coo]),
        "nested * x": lambda: nested * x,
    }
    kinds = {"coo": coo, "csr": csr, "nested": nested, "quantized": quantized, "mkldnn": mkldnn}
    rows = weft.TensorLayout(("x", None), mesh)
    laid_out = {f"distribute {kind}": lambda t=t: weft.distribute_tensor(t, rows) for kind, t in kinds.items()}
    parts = {f"part {kind}": lambda t=t: weft.from_local(t, rows) for kind, t in kinds.items()}
    parts |= {f"part {kind}, shape told": lambda t=t: weft.from_local(t, rows, (8, 4)) for kind, t in kinds.items()}
    return {**made, **met, **laid_out, **parts}


def refusals() -> dict[str, str]:
    mesh = weft.DeviceMesh((2,), ("x",))
    x = weft.distribute_tensor(torch.eye(4), ("x", None), mesh)
    out = {}
    for name, call in calls(x, mesh).items():
        try:
            out[name] = f"not refused: {type(call())}"
        except Exception as e:
            out[name] = f"{type(e).__name__}: {e}".split("\n")[0]
    assert torch.equal(weft.full_tensor(x), torch.eye(4))
    return out


def test_refused_alike_on_every_rank(ranks2: RankPool) -> None:
    first, second = ranks2(refusals)
    assert first == second
    unclear = {
        name: text
        for name, text in first.items()
        if not (text.startswith("NotImplementedError") and "full_tensor" in text)
    }
    assert not unclear


def one_differs() -> list[str]:
    """Rank 1 has another kind of tensor where the other has a plain one."""
    rows = weft.TensorLayout(("x", None), weft.DeviceMesh((2,), ("x",)))
    plain = torch.ones(2, 3)
    others = [
        torch.nested.nested_tensor([torch.ones(3), torch.ones(3)]),
        plain.to_sparse(),
        torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
    ]
    out = []
    for call in (weft.distribute_tensor, weft.from_local):
        for other in others:
            try:
                call(other if weft.rank() == 1 else plain, rows)
                out.append("")
            except ValueError as e:
                out.append(str(e).split("\n")[0])
    return out


def test_on_one_rank_only(ranks2: RankPool) -> None:
    first, second = ranks2(one_differs)
    assert first == second
    assert all("must be the same on all ranks" in text for text in first)
