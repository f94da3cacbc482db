"""What the planner takes collectives to cost: measured alike, kept in a file, and followed by plans."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import weft
from support.ranks import run_ranks

SHAPE = (64, 48)  # bytes of it in float32: 12 KiB


def _known() -> tuple[str, list[float], int]:
    mesh = weft.DeviceMesh((3,), ("x",))
    with weft.trace() as t:
        cost = weft.cost(mesh)
    kinds = ("all_gather", "all_to_all", "all_reduce", "reduce_scatter")
    return cost.source, [cost.seconds(kind, "x", 1 << n) for kind in kinds for n in (8, 16, 24)], len(t.rows)


def test_all_ranks_measure_the_same() -> None:
    ranks = run_ranks(3, _known, env={"WEFT_COST": "measure"})
    assert ranks == [ranks[0]] * 3
    source, seconds, traced = ranks[0]
    assert source == "measured"
    assert traced == 0  # they are no collectives of the program's
    assert all(a <= b for n in range(0, 12, 3) for a, b in zip(seconds[n:], seconds[n + 1 : n + 3], strict=False))
    assert 0 < seconds[0] < 1


def _saved(path: str) -> None:
    cost = weft.cost(weft.DeviceMesh((2,), ("x",)))
    cost.save(path)
    torch.ops.weft.check_same([0], "saving", None)
    assert json.loads(Path(path).read_text())["source"] == "measured"


def _product(path: str) -> tuple[str, list[str]]:
    """A product whose operands are split by different dimensions: the larger one stays or not by what links cost."""
    mesh = weft.DeviceMesh((2,), ("x",))
    a = weft.distribute_tensor(torch.ones(SHAPE), ("x", None), mesh)
    b = weft.distribute_tensor(torch.ones(SHAPE[1], SHAPE[1]), (None, "x"), mesh)
    with weft.trace() as t:
        result = a @ b
    assert torch.equal(weft.full_tensor(result), torch.full(SHAPE, float(SHAPE[1])))
    return weft.cost(mesh).source, [row.kind for row in t.rows if row.op == "mm"]


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    run_ranks(2, _saved, (str(path),), env={"WEFT_COST": "measure"})
    ranks = run_ranks(2, _product, (str(path),), env={"WEFT_COST": str(path)})
    assert ranks == [(str(path), ["all_gather"])] * 2


def _refused() -> str:
    with pytest.raises(ValueError) as caught:
        weft.cost(weft.DeviceMesh((2,), ("x",)))
    return str(caught.value)


@pytest.mark.parametrize("text, says", [(None, "cannot be read"), ("{}", "weft_cost"), ("[", "cost.json:1:")])
def test_a_file_that_is_none_is_refused_on_all_ranks(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "cost.json"
    if text is not None:
        path.write_text(text)
    first, second = run_ranks(2, _refused, env={"WEFT_COST": str(path)})
    assert first == second
    assert says in first


def _flows(tagged: bool) -> dict[str, Any]:
    """A linear layer whose weight is split over the axis of the batch, and a residual."""
    torch.manual_seed(0)
    mesh = weft.DeviceMesh((2,), ("x",))
    layer = torch.nn.Linear(64, 96, bias=False)
    plain = layer.weight.detach().clone()
    x = torch.randn(48, 64)
    if tagged:
        weft.distribute_module(layer, weft.LayoutMap(mesh, {"weight": ("x", None)}))
        weight = layer.weight
    else:
        weight = weft.distribute_tensor(plain, ("x", None), mesh)
    rows = weft.distribute_tensor(x, ("x", None), mesh)
    with weft.trace() as t:
        y = rows @ weight.t()
    torch.testing.assert_close(weft.full_tensor(y.detach()), x @ plain.t())
    return {"layout": str(weft.layout_of(y).axes), "bytes": [row.bytes for row in t.rows if row.op == "mm"]}


def test_what_flows_keeps_its_split_where_a_weight_is_as_cheaply_gathered() -> None:
    # The weight is twice as large as the batch: moved alone it costs more, but nothing has to come back.
    for rank in run_ranks(2, _flows, (True,)):
        assert rank == {"layout": "('x', None)", "bytes": [64 * 96 * 4 // 2]}
    for rank in run_ranks(2, _flows, (False,)):  # of two that flow the smaller one moves
        assert rank["bytes"] == [48 * 64 * 4 // 2]


def _sums() -> list[tuple[str, list[str]]]:
    """Products that sum over a split dimension, of sizes where bytes alone would speak for another split."""
    mesh = weft.DeviceMesh((2,), ("x",))
    layer = torch.nn.Linear(256, 256, bias=False)
    plain = layer.weight.detach().clone()
    weft.distribute_module(layer, weft.LayoutMap(mesh, {"weight": (None, "x")}))
    hidden, gradient = torch.randn(1024, 256), torch.randn(1024, 256)
    columns = weft.distribute_tensor(hidden, (None, "x"), mesh)
    rows, back = (weft.distribute_tensor(t[:64], ("x", None), mesh) for t in (hidden, gradient))
    found = []
    with torch.no_grad():
        for ours, plain_result in (
            (lambda: columns @ layer.weight.t(), hidden @ plain.t()),  # Megatron's row split
            (lambda: back.t() @ rows, gradient[:64].t() @ hidden[:64]),  # a weight's gradient, its batch split
        ):
            with weft.trace() as t:
                y = ours()
            found.append((str(weft.layout_of(y)), [row.kind for row in t.rows if row.op == "mm"]))
            torch.testing.assert_close(weft.full_tensor(y), plain_result, atol=1e-3, rtol=1e-4)
    return found


def test_a_sum_over_what_is_split_stays_one() -> None:
    for row_split, gradient in run_ranks(2, _sums):
        assert "partial" in row_split[0] and row_split[1] == []
        assert "partial" in gradient[0] and gradient[1] == []
