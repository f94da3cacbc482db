"""weft.cost: what the planner takes collectives to cost."""

import pytest
import torch
import weft

MESH = weft.DeviceMesh((1,), ("one",))


def test_of_one_rank_costs_nothing() -> None:
    cost = weft.cost(MESH)
    assert cost.source == "fixed"
    assert cost.seconds("all_reduce", "one", 1 << 20) == 0
    assert "products a second" in str(cost)


@pytest.mark.parametrize(
    "kind, axis, bytes, says",
    [("all_sum", "one", 1, "all_reduce"), ("all_reduce", "two", 1, "two"), ("all_reduce", "one", -1, "-1 bytes")],
)
def test_what_is_unknown_is_refused(kind: str, axis: str, bytes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        weft.cost(MESH).seconds(kind, axis, bytes)


def test_what_a_redistribution_takes() -> None:
    mesh = weft.DeviceMesh((4,), ("x",), device_type="cpu", simulate=0)
    cost = weft.cost(mesh)
    shape, rows, columns, whole = (1000, 1000), ("x", None), (None, "x"), (None, None)
    assert cost.redistribution(shape, rows, whole) == cost.seconds("all_gather", "x", 4_000_000)
    assert cost.redistribution(shape, rows, whole, torch.float64) == cost.seconds("all_gather", "x", 8_000_000)
    assert cost.redistribution(shape, rows, columns) == cost.seconds("all_to_all", "x", 1_000_000)
    assert cost.redistribution(shape, whole, rows) == 0
    pending = weft.TensorLayout(whole, mesh, partial={"x": "sum"})
    assert cost.redistribution(shape, pending, rows) == cost.seconds("reduce_scatter", "x", 4_000_000)
    x = weft.distribute_tensor(torch.empty(shape), rows, mesh)
    with weft.trace() as trace:
        weft.distribute_tensor(x, columns, mesh)
    assert trace.count("all_to_all") == 1


@pytest.mark.parametrize(
    "arguments, code",
    [
        (((4, 4), ("one",), (None, None)), "W028"),
        (((4,), ("two",), (None,)), "W025"),
        (((4,), weft.TensorLayout(("x",), weft.DeviceMesh((1,), ("x",))), (None,)), "W031"),
        (((-4,), ("one",), (None,)), "W039"),
        ((4, ("one",), (None,)), "W038"),
        (((4.0,), ("one",), (None,)), "W038"),
        (((4,), ("one",), (None,), "float32"), "W038"),
    ],
)
def test_no_redistribution(arguments: tuple, code: str) -> None:
    with pytest.raises(ValueError, match=code):
        weft.cost(MESH).redistribution(*arguments)
