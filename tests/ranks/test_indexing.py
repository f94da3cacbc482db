"""Indexing with masks: what moves, and that the values are the plain ones."""

from collections.abc import Callable

import torch
import weft

SPLIT = {"batch": ("m", None, None), "sequence": (None, "m", None), "width": (None, None, "m")}


def write(x: torch.Tensor, mask: torch.Tensor, values: torch.Tensor | float) -> torch.Tensor:
    out = x.clone()
    out[mask] = values
    return out


CASES: dict[str, tuple[Callable, tuple[str, ...]]] = {  # with the layouts under which it moves nothing
    "read": (lambda x, m, one, each: x[m], ("width",)),
    "write_one": (lambda x, m, one, each: write(x, m, one), tuple(SPLIT)),
    "write_zero": (lambda x, m, one, each: write(x, m, 0.0), tuple(SPLIT)),
    "write_each": (lambda x, m, one, each: write(x, m, each), ("width",)),
    "write_rows": (lambda x, m, one, each: write(x, m[:, 0], one), tuple(SPLIT)),
}


def moved() -> dict[tuple[str, str], list[str]]:
    """The collectives, by case and layout."""
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    torch.manual_seed(0)
    x, mask = torch.randn(4, 6, 8), torch.rand(4, 6) > 0.5
    one, each = torch.randn(8), torch.randn(int(mask.sum()), 8)
    whole = [weft.distribute_tensor(t, (None,) * t.dim(), mesh) for t in (mask, one, each)]
    out = {}
    for name, (case, _) in CASES.items():
        want = case(x, mask, one, each)
        for layout, axes in SPLIT.items():
            split = weft.distribute_tensor(x, axes, mesh)
            with weft.trace() as trace:
                got = case(split, *whole)
            assert torch.equal(weft.full_tensor(got), want), (name, layout)
            out[name, layout] = [row.kind for row in trace.rows]
    return out


def test_masks_move_only_what_they_must(ranks2):
    for rank in ranks2(moved):
        for (name, layout), kinds in rank.items():
            assert (kinds == []) == (layout in CASES[name][1]), (name, layout, kinds)
