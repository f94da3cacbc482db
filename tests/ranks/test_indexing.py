"""Indexing: what masks move, rows of all dtypes, and that the values are the plain ones."""

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


LOOKUPS: dict[str, Callable] = {
    "index": lambda t, i: t[i],
    "index_select": lambda t, i: t.index_select(0, i),
    "gather": lambda t, i: t.gather(0, i[:, None]),
    "embedding": lambda t, i: torch.nn.functional.embedding(i, t),
}
DTYPES = [
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.bool, torch.complex64),
    *(torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
]


def rows_looked_up() -> dict[str, int]:
    """How many lookups plain torch knows, by dtype; those of a table that is split by rows give the same."""
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    places, known = torch.tensor([3, 0, 4]), {}
    for dtype in DTYPES:
        plain = torch.arange(10.0).view(5, 2).to(dtype)
        table = weft.distribute_tensor(plain, ("m", None), mesh)
        for name, look_up in LOOKUPS.items():
            try:
                expected = look_up(plain, places)
            except (RuntimeError, NotImplementedError):
                continue
            got = weft.full_tensor(look_up(table, places))
            assert got.dtype == dtype and torch.equal(got.view(torch.uint8), expected.view(torch.uint8)), (dtype, name)
            known[str(dtype)] = known.get(str(dtype), 0) + 1
    return known


def test_rows_of_every_dtype(ranks2):
    for known in ranks2(rows_looked_up):
        assert set(known) == {str(dtype) for dtype in DTYPES} and sum(known.values()) > 40, known
