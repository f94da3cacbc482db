"""as_strided above autograd: windows and regions of a tensor whose other dimensions are split move nothing, forward or
backward; what mixes dimensions is gathered, and all is the plain tensor's."""

from collections.abc import Callable

import torch
import weft
from support.cases import cases_on_worlds

WINDOW = torch.hann_window(16)


def chunks(h: torch.Tensor) -> torch.Tensor:
    """Chunks of 8 places that overlap by half, as sliding attention takes them."""
    batch, length, width = h.shape
    (rows, places, each) = h.stride()
    return h.as_strided((batch, length // 4 - 1, 8, width), (rows, 4 * places, places, each))


def spectrum(x: torch.Tensor) -> torch.Tensor:
    return torch.stft(x, 16, hop_length=4, window=WINDOW, return_complex=True)


# The shape, a view (or what is made of one), the dimensions by whose splits it moves nothing.
VIEWS: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "frames of a spectrum": ((5, 100), lambda x: torch.view_as_real(spectrum(x)), (0,)),
    "back from a spectrum": ((5, 100), lambda x: torch.istft(spectrum(x), 16, hop_length=4, window=WINDOW), (0,)),
    "chunks": ((5, 16, 6), chunks, (0, 2)),
    "chunks of what is cut": (
        (5, 16, 6),
        lambda x: x.view(5, 2, 8, 6).as_strided((5, 3, 8, 6), (96, 24, 6, 1)),
        (0, 2),
    ),
    "patches": ((5, 3, 6, 6), lambda x: x.as_strided((5, 3, 3, 3, 2, 2), (108, 36, 12, 2, 6, 1)), (0, 1)),
    "patches, their order changed": ((5, 6, 6), lambda x: x.as_strided((3, 2, 5, 3, 2), (12, 6, 36, 2, 1)), (0,)),
    "rows and columns": ((5, 6, 7), lambda x: x.as_strided((5, 3, 2), (42, 14, 3), 8), (0,)),
    "all of it": ((5, 6), lambda x: x.as_strided((5, 6), (6, 1)), (0, 1)),
    "diagonal": ((5, 6), lambda x: x.as_strided((5,), (7,)), ()),
    "before what it is a view of": ((5, 6), lambda x: x[2:].as_strided((2, 3), (6, 2), 0), ()),
    "of nothing": ((0, 6), lambda x: x.as_strided((0, 2, 0), (0, 0, 0)), ()),
    "flat": ((5, 6), lambda x: x.as_strided((30,), (1,)), ()),
}


def equals_plain(name: str) -> None:
    shape, view, free = VIEWS[name]
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    torch.manual_seed(0)
    x = torch.randn(shape)
    leaf = x.clone().requires_grad_()
    expected = view(leaf * 1)
    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    for d in range(len(shape)):
        layout = tuple("x" if d == k else None for k in range(len(shape)))
        sharded = weft.distribute_tensor(x, layout, mesh).requires_grad_()
        base = sharded * 1
        with weft.trace() as trace:
            got = view(base)
            got.sum().backward(retain_graph=True)
        moved = [row for row in trace.rows if row.axis == "x"]  # the world's compare what the plain operands are
        assert d not in free or not moved, (layout, trace)
        sharded.grad = None
        (got * weight).sum().backward()
        torch.testing.assert_close(weft.full_tensor(got.detach()), expected.detach())
        torch.testing.assert_close(weft.full_tensor(sharded.grad), leaf.grad)
        assert got.stride() == expected.stride() and got._is_view() == expected._is_view(), layout
        with torch.inference_mode():
            torch.testing.assert_close(
                weft.full_tensor(view(weft.distribute_tensor(x, layout, mesh))), expected.detach()
            )


def written() -> None:
    """What a window shows is the tensor itself."""
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    x = torch.randn(5, 16, 6)
    for layout in (("x", None, None), (None, "x", None), (None, None, "x")):
        for grad in (False, True):
            leaf = x.clone().requires_grad_(grad)
            sharded = weft.distribute_tensor(x, layout, mesh).requires_grad_(grad)
            plain, mine = leaf * 1, sharded * 1
            for y in (plain, mine):
                chunks(y)[:, 1, 2:4].mul_(3)
                y.as_strided((5, 4, 4, 6), (96, 24, 6, 1))[:, 2].add_(1)
            torch.testing.assert_close(weft.full_tensor(mine.detach()), plain.detach())
            if grad:
                for y in (plain, mine):
                    y.square().sum().backward()
                torch.testing.assert_close(weft.full_tensor(sharded.grad), leaf.grad)


CASES = {**{name: lambda name=name: equals_plain(name) for name in VIEWS}, "written": written}

results, test_strided_views = cases_on_worlds(globals(), 2, 3, mesh=None, timeout=240)
