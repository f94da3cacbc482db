"""Indexing: what masks move, rows of all dtypes, and that the values are the plain ones."""

from collections.abc import Callable

import pytest
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


@torch.jit.script
def scripted(x: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor):
    y = x.clone()
    y[y < 0] = 1.0
    y[rows] = 2.0
    y[:, rows, 1] *= 3.0
    return y, x[mask], x[rows, rows], x[:, rows, None]


def in_torchscript() -> None:
    """Its lists of indices say of their entries that they are tensors, where Python's say that they may be None."""
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    torch.manual_seed(0)
    x, mask, rows = torch.randn(4, 6, 8), torch.rand(4, 6) > 0.5, torch.tensor([2, 0])
    want = scripted(x, mask, rows)
    for axes in SPLIT.values():
        got = scripted(weft.distribute_tensor(x, axes, mesh), mask, rows)
        for one, other in zip(got, want, strict=True):
            assert torch.equal(weft.full_tensor(one), other), axes


def test_in_torchscript(ranks2):
    ranks2(in_torchscript)


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


def scattered(world: int) -> None:
    """Places of a split batch take rows that are split otherwise, as a model of pictures and words puts them."""
    mesh = weft.DeviceMesh((world,), ("m",), device_type="cpu")
    torch.manual_seed(0)
    words, mask = torch.randn(5, 6, 8), (torch.rand(5, 6) > 0.5)[..., None]
    pictures, weight = torch.randn(int(mask.sum()) + 2, 8), torch.randn(5, 6, 8)

    def run(lay: Callable) -> list[torch.Tensor]:
        x, m, source = lay(words, ("m",)).requires_grad_(), lay(mask, ("m",)), lay(pictures, ("m",)).requires_grad_()
        out = x.masked_scatter(m.expand_as(x), source)
        (out * lay(weight, ("m",))).sum().backward()
        written = (lay(words, ("m",)) + 0).masked_scatter_(m, source.detach())
        return [out, x.grad, source.grad, written]

    want = run(lambda t, axes: t.clone())
    with weft.trace() as trace:
        got = run(lambda t, axes: weft.distribute_tensor(t, (*axes, *(None,) * (t.dim() - 1)), mesh))
    for mine, plain in zip(got, want, strict=True):
        torch.testing.assert_close(weft.full_tensor(mine.detach()), plain.detach())
        assert weft.layout_of(mine).axes[0] == "m", weft.layout_of(mine)
    # The rows are gathered and their gradient is scattered again: the words, which are many more, stay.
    assert max(r.bytes for r in trace.rows) <= pictures.nbytes + 8 * world, trace.rows
    few = pictures[: int(mask.sum()) - 1]
    with pytest.raises(RuntimeError, match="Number of elements of source < number of ones in mask"):
        weft.distribute_tensor(words, ("m", None, None), mesh).masked_scatter(mask, few)


@pytest.mark.parametrize("world", [2, 3])
def test_scattered(world: int, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(f"ranks{world}")(scattered, world)


def scans() -> None:
    """Along a split dimension one value of each part is gathered, in place and otherwise."""
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    for name in ("cumsum", "cumprod", "cumsum_", "cumprod_", "logcumsumexp"):
        split = weft.distribute_tensor(x, ("m", None), mesh)
        with weft.trace() as trace:
            got = getattr(split, name)(0)
        torch.testing.assert_close(weft.full_tensor(got), getattr(x.clone(), name)(0))
        assert (got is split) == name.endswith("_") and weft.layout_of(got).axes == ("m", None)
        assert [r.kind for r in trace.rows] == ["all_gather"], (name, trace.rows)
        if name.endswith("_"):
            torch.testing.assert_close(weft.full_tensor(split), getattr(x.clone(), name)(0))
    # Each rank has a part of each of two blocks.
    blocks = weft.distribute_tensor(torch.randn(2, 4, 3), (None, "m", None), mesh)
    torch.testing.assert_close(
        weft.full_tensor(blocks.view(8, 3).cumsum(0)), weft.full_tensor(blocks).view(8, 3).cumsum(0)
    )
    counts = weft.distribute_tensor(torch.arange(5, dtype=torch.int32), ("m",), mesh)
    assert counts.cumsum_(0).dtype == torch.int32
    assert weft.full_tensor(counts).tolist() == [0, 1, 3, 6, 10]


def test_scans(ranks2):
    ranks2(scans)
