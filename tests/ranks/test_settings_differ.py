"""Settings, seeds and axes that differ between ranks: one error on all of them."""

import time
import warnings

import pytest
import torch
import weft
from ranks.differing import error_of, linear, pick, square
from ranks.meshes import line
from support.cases import SOON
from support.ranks import run_ranks

ROWS = ("a", None)


def seeds_differ():
    """Values that are made get a warning, as the caller may load others afterwards."""
    torch.manual_seed(weft.rank())
    found = []
    for device in ("cpu", "meta"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            weft.distribute_module(linear(device=device), mesh=line())
        found.append("\n".join(str(w.message) for w in caught))
    return found


def test_seeds(ranks2):
    told, silent = ranks2(seeds_differ)
    for text in told:
        assert "rank 1 differs from rank 0" in text and "seed all ranks alike" in text
    assert silent == ["", ""], "one rank tells what concerns all"


def settings_differ():
    """Set on one rank alone: told where the ranks next compare anything, until it is mended."""
    mesh, found = line(), []
    for set_one, mend in (
        (weft.strict, lambda: weft.strict(False)),
        (random_mode, lambda: weft.random_mode("counter")),
    ):
        if weft.rank() == 1:
            set_one(True)
        found.append(error_of(weft.distribute_tensor, (square(), ROWS, mesh))[0])
        mend()
        weft.distribute_tensor(square(), ROWS, mesh)
    if weft.rank() == 1:
        torch.library.define("differ::twice", "(Tensor x) -> Tensor")
        weft.register_rule("differ::twice", "... -> ...")
    found.append(error_of(weft.distribute_tensor, (square(), ROWS, mesh))[0])
    return found


def random_mode(on):
    weft.random_mode("replay" if on else "counter")


def test_settings():
    first, second = run_ranks(2, settings_differ)  # processes of their own: a rule stays
    assert first == second
    assert all(
        "strict, frozen, random_mode, check_plain, register_rule and WEFT_COST" in text and "rank 1 differs" in text
        for text in first
    ), first


def other_axes():
    """Rank 1 waits for rank 0, which has what it asked for from rank 2; rank 3 waits for rank 1."""
    mesh = weft.DeviceMesh((2, 2), ("a", "b"), device_type="cpu")
    x = weft.distribute_tensor(square(), ("a", None), mesh)
    y = weft.distribute_tensor(square(), ("b", None), mesh)
    return error_of(weft.full_tensor, (pick(x, y),))


def test_other_axes():
    """Nothing compares what ops are run on: those that wait for ever find out."""
    found = run_ranks(4, other_axes)
    (one, took), (same, _) = found[1], found[3]
    assert one == same, found
    for axis in "ab":
        assert f"all_gather over '{axis}' of mesh (a=2, b=2) for [full_tensor]" in one, found
    assert "the ranks ask for different collectives" in one and took < SOON, found


def strict_on_one():
    mesh = line()
    sharded = weft.distribute_tensor(torch.arange(6.0), ("a",), mesh)
    weft.strict(weft.rank() == 1)
    start = time.monotonic()
    with pytest.raises(NotImplementedError, match="strict mode refuses") as error:
        torch.take(sharded, torch.tensor([1, 2]))
    return str(error.value), time.monotonic() - start


def test_strict_on_one_rank():
    for text, took in run_ranks(2, strict_on_one):
        assert "[take]" in text and took < SOON, text
