"""Fourier transforms whose batch is split: the order of memory of plain torch, and nothing moves but gradients."""

import itertools

import torch
import weft
from support.cases import cases_on_worlds


class SpectralLayer(torch.nn.Module):
    """A layer of a Fourier neural operator: the lowest frequencies are mixed over channels."""

    def __init__(self, channels: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        shape = (channels, channels, frequencies, frequencies)
        self.weight = torch.nn.Parameter(torch.randn(shape, dtype=torch.complex64) / channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = (..., slice(self.frequencies), slice(self.frequencies))
        spectrum = torch.fft.rfft2(x)
        mixed = torch.zeros_like(spectrum)
        mixed[low] = torch.einsum("bixy,ioxy->boxy", spectrum[low], self.weight)
        return torch.fft.irfft2(mixed, s=x.shape[-2:])


def made() -> torch.nn.Module:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d
    return torch.nn.Sequential(conv(1, 4, 1), SpectralLayer(4, 3), torch.nn.GELU(), SpectralLayer(4, 3), conv(4, 1, 1))


def trains() -> None:
    mesh = weft.DeviceMesh((weft.world_size(),), ("data",), device_type="cpu")
    x = torch.randn(6, 1, 8, 9)
    plain, model = made(), made()
    expected = plain(x).square().mean()
    expected.backward()
    weft.distribute_module(model, weft.LayoutMap(mesh))
    sharded = weft.distribute_tensor(x, ("data", None, None, None), mesh)
    with weft.trace() as trace:
        loss = model(sharded).square().mean()
        loss.backward()
    assert {(row.kind, row.op) for row in trace.rows} == {("all_reduce", "gradient")}, trace
    torch.testing.assert_close(weft.full_tensor(loss), expected)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weft.full_tensor(p.grad), q.grad, rtol=1e-4, atol=1e-6)


def transforms(order: tuple[int, ...]) -> None:
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    real = torch.randn(3, 4, 5, 6).permute(order)
    for count in (1, 2, 3):
        for dims in itertools.permutations(range(4), count):
            whole = next(d for d in range(4) if d not in dims)
            layout = tuple("x" if d == whole else None for d in range(4))
            for f, x in (
                (torch.fft.rfftn, real),
                (torch.fft.irfftn, torch.complex(real, -real)),
                (torch.fft.fftn, torch.complex(real, -real)),
            ):
                expected, sharded = f(x, dim=dims), weft.distribute_tensor(x, layout, mesh)
                with weft.trace() as trace:
                    got = f(sharded, dim=dims)
                assert not trace.rows, (f, dims, trace)
                assert got.stride() == expected.stride(), (f, dims)
                torch.testing.assert_close(weft.full_tensor(got), expected)


CASES = {
    "trains": trains,
    **{
        f"order {order}": lambda order=order: transforms(order)
        for order in [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (0, 2, 3, 1)]
    },
}

results, test_spectral = cases_on_worlds(globals(), 2, 3, mesh=None, timeout=240)
