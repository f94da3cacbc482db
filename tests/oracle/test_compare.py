"""The comparison catches what it is there for."""

import pytest
import torch
from oracle.compare import Wrong, compare

WANT = torch.tensor([1.0, 2.0, -3.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.complex64])
def test_a_wrong_value_is_caught(dtype: torch.dtype) -> None:
    want = WANT.to(dtype)
    got = torch.tensor([1.0, 2.3, -3.0]).to(dtype)
    for truth in (None, lambda: WANT.to(torch.complex128 if dtype.is_complex else torch.float64)):
        compare(want.clone(), want, "itself", truth=truth)
        with pytest.raises(Wrong, match="value"):
            compare(got, want, "result", truth=truth)


def test_float32_has_no_second_chance() -> None:
    """A plain op that errs as much is no excuse: only half precision is compared with double."""
    truth = torch.tensor([1.05, 2.0, -3.0], dtype=torch.float64)
    with pytest.raises(Wrong):
        compare(torch.tensor([1.1, 2.0, -3.0]), WANT, "result", truth=lambda: truth)


@pytest.mark.parametrize(
    ("got", "kind"), [(WANT.double(), "dtype"), (WANT[:2], "shape"), ([WANT], "structure"), (WANT[None].t()[:, 0], "")]
)
def test_kinds(got: object, kind: str) -> None:
    if not kind:
        return compare(got, WANT, "result")
    with pytest.raises(Wrong) as error:
        compare(got, WANT, "result")
    assert error.value.kind == kind
