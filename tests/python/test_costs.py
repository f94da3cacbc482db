"""weft.cost: what the planner takes collectives to cost."""

import pytest
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
