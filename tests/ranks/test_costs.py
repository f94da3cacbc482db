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
