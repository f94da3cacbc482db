"""A metric's states, as a program's own `update` leaves them, with torchmetrics imported before Weft and after."""

import importlib
import sys

import pytest
import torch
from support.ranks import run_ranks


def values(weft_first: bool) -> dict[str, list]:
    """Counts that are added to in place, that become sharded, that are numbers alone; lists."""
    for name in ("weft", "torchmetrics") if weft_first else ("torchmetrics", "weft"):
        assert name not in sys.modules
        importlib.import_module(name)
    torchmetrics, weft = sys.modules["torchmetrics"], sys.modules["weft"]
    dim_zero_cat = torchmetrics.utilities.dim_zero_cat

    class Counts(torchmetrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            for name in ("in_place", "sum", "number"):
                self.add_state(name, torch.tensor(0.0), "sum")
            self.add_state("top", torch.tensor(-99.0), "max")
            self.add_state("seen", [], "cat")

        def update(self, x: torch.Tensor, plain: torch.Tensor | None = None) -> None:
            self.in_place += x.sum()
            self.sum = self.sum + x.sum()
            self.number += len(x)
            self.top = torch.maximum(self.top, x.max())
            self.seen.append(x if plain is None else plain)

        def compute(self) -> list:
            numbers = (self.in_place, self.sum, self.number, self.top)
            return [*map(float, numbers), dim_zero_cat(self.seen).tolist()]

    class InPlace(Counts):
        """No state is sharded by itself."""

        def update(self, x: torch.Tensor) -> None:
            self.in_place += x.sum()
            self.number += len(x)
            self.seen.append(torch.ones(1))

    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    x = torch.arange(5.0)
    rows = weft.distribute_tensor(x, ("a",), mesh)
    out: dict[str, list] = {}
    metric = Counts()
    for name, batch in {"sharded": (rows,), "again": (rows * 2,), "with a plain one": (rows, x + 1)}.items():
        metric.update(*batch)
        out[name] = metric.compute()
    metric.reset()
    metric.update(x + weft.rank())
    out["plain"] = metric.compute()
    metric = InPlace()
    metric.update(rows)
    out["in place"] = metric.compute()
    return out


@pytest.mark.parametrize(("world", "weft_first"), [(2, True), (3, False)])
def test_values(world, weft_first):
    x = list(range(5))
    doubled, added = [2 * v for v in x], [v + 1 for v in x]
    own = [[float(v + rank) for v in x] for rank in range(world)]
    want = {
        "sharded": [10, 10, 5, 4, x],
        "again": [30, 30, 10, 8, x + doubled],
        "with a plain one": [40, 40, 15, 8, x + doubled + added],
        "plain": [sum(map(sum, own)), sum(map(sum, own)), 5 * world, 3 + world, sum(own, [])],
        "in place": [10, 0, 5, -99, [1]],
    }
    for got in run_ranks(world, values, (weft_first,), import_weft=False):
        assert got == want
