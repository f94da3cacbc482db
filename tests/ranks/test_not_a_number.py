"""What is no number on one rank's part is none in what all parts make, as in plain torch; infinities stay."""

import math

import torch
import weft
from support.cases import cases_on_worlds

REDUCTIONS = {
    "amax": lambda t: t.amax(1),
    "amin": lambda t: t.amin(1),
    "max": lambda t: t.max(),
    "min": lambda t: t.min(),
    "max over a dimension": lambda t: t.max(1).values,
    "where": lambda t: t.max(1).indices,
    "argmin": lambda t: t.argmin(),
    "aminmax": lambda t: torch.stack(tuple(t.aminmax(dim=1))),
    "norm": lambda t: t.norm(math.inf, 1),
    "softmax": lambda t: t.softmax(1),
    "logsumexp": lambda t: t.logsumexp(1),
    "median": lambda t: t.median(1).values,
    "topk": lambda t: t.topk(3, dim=1).values,
    "sort": lambda t: t.sort(dim=1).values,
    "cummax": lambda t: t.cummax(1).values,
    "compiled": lambda t: torch.compile(lambda x: x.amax(1), backend="aot_eager")(t),
}


def reduces(f, dtype) -> None:
    n = weft.world_size()
    mesh = weft.DeviceMesh((n,), ("x",), device_type="cpu")
    for bad in (math.nan, math.inf, -math.inf):
        for at in range(2 * n):
            plain = torch.arange(6 * n).view(3, 2 * n).sin().to(dtype)
            plain[1, at] = bad
            expected = f(plain)
            got = weft.full_tensor(f(weft.distribute_tensor(plain, (None, "x"), mesh)))
            torch.testing.assert_close(got, expected, equal_nan=True)


CASES = {
    f"{name} {dtype}": lambda f=f, dtype=dtype: reduces(f, dtype)
    for name, f in REDUCTIONS.items()
    for dtype in (torch.float32, torch.float64, torch.bfloat16)
}

results, test_reductions = cases_on_worlds(globals(), 2, 3, mesh=None, timeout=240)
