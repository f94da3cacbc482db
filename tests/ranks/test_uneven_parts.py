"""Parts of unlike sizes, and none: what is sent is chosen by what all ranks have in common."""

import torch
import weft
from support.cases import cases_on_worlds
from torch import nn


def grid() -> weft.DeviceMesh:
    return weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")


def rows_at_the_turn() -> None:
    """By how many rows each rank has, two small reductions or a gather of moments are cheaper."""
    mesh = grid()
    for rows in (99_999, 100_001, 100_003, 65_537, 32_769):
        x = torch.randn(rows, 4)
        sharded = weft.distribute_tensor(x, ("data", "model"), mesh)
        for f in (lambda t: t.var(1), lambda t: t.softmax(1), lambda t: t.logsumexp(1)):
            torch.testing.assert_close(weft.full_tensor(f(sharded)), f(x))


def norms_of_nothing() -> None:
    """One row over two ranks: the second has none of it."""
    torch.manual_seed(0)
    plain, model = nn.Linear(8, 1), nn.Linear(8, 1)
    model.load_state_dict(plain.state_dict())
    weft.distribute_module(model, {"weight": ("model", None), "bias": (None,)}, mesh=grid())
    x = torch.randn(4, 8)
    norms = []
    for m, batch in ((plain, x), (model, weft.shard_batch(x, grid(), "data"))):
        grads = torch.autograd.grad(m(batch).square().sum(), list(m.parameters()))
        norms.append(nn.utils.get_total_norm(grads))
    torch.testing.assert_close(weft.full_tensor(norms[1]), norms[0])


class Gated(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def gathers_ahead() -> None:
    """A budget that the longer part of a weight's gather breaks, and the shorter one does not."""
    layouts = {"(gate|up).weight": ("model", "data"), "down.weight": ("data", "model")}
    for budget in (1 << 10, 1 << 12, 1 << 13, 1 << 14):
        with weft.overlap(budget):
            model = Gated(16, 33)
            weft.distribute_module(model, layouts, mesh=grid())
            for _ in range(3):
                x = weft.shard_batch(torch.randn(8, 16), grid(), "data")
                model(x).square().mean().backward()


def lazily_conjugated() -> None:
    """Of three columns over both axes one rank takes its part as it is, one has none, and two copy theirs."""
    torch.manual_seed(0)
    mesh, layout = grid(), (None, ("data", "model"))
    for plain in (torch.randn(5, 3, dtype=torch.complex128).conj(), torch._neg_view(torch.randn(5, 3))):
        halves = weft.distribute_tensor(plain.clone(), (None, "data"), mesh)
        halves = halves.conj().resolve_conj().conj() if plain.is_conj() else torch._neg_view(-halves)
        part = weft.local_tensor(weft.distribute_tensor(plain.clone(), layout, mesh))
        if weft.rank() == 0:
            part = part.conj().resolve_conj().conj() if plain.is_conj() else torch._neg_view(-part)
        for x in (
            weft.distribute_tensor(plain, layout, mesh),
            weft.distribute_tensor(halves, layout, mesh),
            weft.from_local(part, layout, device_mesh=mesh),
        ):
            assert not x.is_conj() and not x.is_neg()
            assert torch.equal(weft.full_tensor(x), plain)


CASES = {"rows": rows_at_the_turn, "norms": norms_of_nothing, "gathers": gathers_ahead, "conjugates": lazily_conjugated}

results, test_uneven_parts = cases_on_worlds(globals(), 4, mesh=None, timeout=240)
