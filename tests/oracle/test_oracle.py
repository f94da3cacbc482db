"""A fixed slice of the oracle: samples of each family of rules on two ranks, and some on three."""

from collections.abc import Callable

import pytest
from oracle.extra import FAMILIES
from oracle.sweep import run_family, run_ops, warm_up
from support.ranks import RankPool

OPINFO = {
    "pointwise": "add mul div[no_rounding_mode] where clamp exp abs sign lerp addcmul masked_fill logaddexp "
    "nn.functional.gelu copysign",
    "reductions": "sum mean amax prod var std norm logsumexp cumsum nansum count_nonzero std_mean linalg.vector_norm",
    "matmul": "mm bmm addmm baddbmm matmul mv dot nn.functional.linear outer einsum",
    "views": "view reshape transpose permute squeeze unsqueeze expand "
    "flatten unflatten narrow select split chunk unbind",
    "indexing": "gather index_select index_add scatter_add index_put take_along_dim "
    "masked_select tril flip roll cat stack",
    "selection": "topk sort argmax max[reduction_with_dim] kthvalue cummax nonzero any all",
    "softmax": "softmax log_softmax nn.functional.cross_entropy nn.functional.nll_loss nn.functional.mse_loss",
    "norms": "nn.functional.layer_norm nn.functional.group_norm nn.functional.batch_norm native_layer_norm",
    "convolution": "nn.functional.conv2d nn.functional.conv_transpose2d "
    "nn.functional.max_pool1d nn.functional.max_pool2d nn.functional.avg_pool2d",
    "complex": "fft.fft fft.irfft view_as_real linalg.inv linalg.solve",
}


def failures(results: dict[str, dict]) -> str:
    lines = []
    for name, result in results.items():
        for f in result["failures"]:
            lines.append(f"{name} {f['what']} {f['case']}\n    {f['kind']}: {f['text']}")
    return "\n".join(lines)


@pytest.mark.parametrize("family", OPINFO)
def test_opinfo(ranks2: Callable, family: str) -> None:
    results = ranks2(run_ops, OPINFO[family].split(), "float32", (2,), 0, 3, 1, timeout=300)[0]
    assert not failures(results), failures(results)
    assert sum(r["passed"] for r in results.values()) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_extra(ranks2: Callable, family: str) -> None:
    results = ranks2(run_family, family, (2,), 0, 2, None, timeout=300)[0]
    assert not failures(results), failures(results)


@pytest.mark.parametrize("family", ["losses", "norms", "indexing", "convolutions"])
def test_extra_uneven(ranks3: Callable, family: str) -> None:
    results = ranks3(run_family, family, (3,), 1, 1, None, timeout=300)[0]
    assert not failures(results), failures(results)


def test_extra_on_two_axes(ranks4: Callable) -> None:
    results = ranks4(run_family, "indexing", (2, 2), 0, 8, None, "assign", timeout=300)[0]
    assert not failures(results), failures(results)


@pytest.mark.parametrize("choices", [1, 2])
def test_drawn_choices(choices: int) -> None:
    """What rules allow is right, also where it costs too much to be chosen."""
    with RankPool(2) as pool:
        pool(warm_up, choices, timeout=120)
        for family in ("matmul", "views", "reductions", "indexing", "norms", "convolution"):
            results = pool(run_ops, OPINFO[family].split(), "float32", (2,), choices, 2, 1, timeout=300)[0]
            assert not failures(results), failures(results)
