"""Many small checks in one call on ranks: each is run and reported by itself, since starting a call is what costs."""

import functools
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
import torch
import weft

from .ranks_worker import find

SOON = 15.0  # seconds that an error takes at most on a busy machine, far below the group's time-out

_mismatches: list[str] = []  # of the case that runs: raising on one rank alone would part the ranks


def run_cases(cases: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    """Runs each case, seeded alike; returns the traceback of each that failed, "" for one that passed."""
    found = {}
    for name, case in cases.items():
        torch.manual_seed(0)
        _mismatches.clear()
        try:
            case()
            found[name] = "\n".join(_mismatches)
        except (Exception, pytest.fail.Exception):  # the other cases still run
            found[name] = traceback.format_exc(limit=-4)
    return found


def check(results: list[dict[str, str]], name: str) -> None:
    """That the case passed on every rank."""
    failed = [f"rank {rank}:\n{found[name]}" for rank, found in enumerate(results) if found[name]]
    assert not failed, "\n".join(failed)


def error_of(call: Callable[[], Any]) -> tuple[str, str, float]:
    """What a call raised, by its type's name and its words ("" and "" for nothing), and the seconds that it took."""
    start = time.monotonic()
    try:
        call()
    except Exception as e:
        return type(e).__name__, str(e), time.monotonic() - start
    return "", "", time.monotonic() - start


def whole(t: torch.Tensor) -> torch.Tensor:
    """The value, of a plain or a sharded tensor."""
    return weft.full_tensor(t).detach() if weft.is_sharded(t) else t.detach()


def same(got: torch.Tensor, expected: torch.Tensor, what: str = "value", exact: bool = False) -> None:
    """Notes, for `run_cases`, where a plain or sharded tensor has not a plain tensor's shape and value."""
    tolerance = {"rtol": 0, "atol": 0} if exact else {}
    try:
        torch.testing.assert_close(whole(got), expected.detach(), **tolerance)
    except AssertionError as e:
        _mismatches.append(f"{what}: {e}")


def same_gradients(sharded: torch.nn.Module, plain: torch.nn.Module) -> None:
    """The same gradients, each in its parameter's layout."""
    for (name, p), q in zip(sharded.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if q.grad is not None:
            assert weft.layout_of(p.grad) == weft.layout_of(p), f"{name}: {weft.layout_of(p.grad)}"
            same(p.grad, q.grad, name)


def on_worlds(function: Callable, *worlds: int, args: tuple = (), timeout: float = 120) -> Any:
    """A fixture for a module's tests: `function(world, *args)`, run once on the ranks of each world; values by rank."""

    @pytest.fixture(scope="module", params=worlds)
    def results(request: pytest.FixtureRequest) -> list:
        ranks = request.getfixturevalue(f"ranks{request.param}")
        return ranks(function, request.param, *args, timeout=timeout)

    return results


def cases_of_module(world: int, module: str, file: str, mesh: int | Literal["every"] | None) -> dict[str, str]:
    """The module's CASES, functions by name, each of that one of the world's meshes, of each one, or of nothing."""
    cases = find(module, file, "CASES")
    if mesh is None:
        return run_cases(cases)
    on = meshes(world) if mesh == "every" else [meshes(world)[mesh]]

    def on_each(case: Callable[[weft.DeviceMesh], Any]) -> None:
        for m in on:
            case(m)

    return run_cases({name: functools.partial(on_each, case) for name, case in cases.items()})


def cases_on_worlds(
    names: Mapping[str, Any], *worlds: int, mesh: int | Literal["every"] | None = 0, timeout: float = 120
) -> tuple[Any, Any]:
    """The fixture, to be called `results`, and the test of a module that ends in CASES; `names`: its globals.

    Args:
        mesh: which of a world's meshes the cases are given, each one in turn, or None: they are given nothing.
    """

    @pytest.mark.parametrize("name", names["CASES"])
    def test_case(results: list[dict[str, str]], name: str) -> None:
        check(results, name)

    where = (names["__name__"], names["__file__"], mesh)
    return on_worlds(cases_of_module, *worlds, args=where, timeout=timeout), test_case


def meshes(world: int) -> list[weft.DeviceMesh]:
    """The meshes of a world of that many ranks that tests use."""
    shapes = {1: [(1,)], 2: [(2,)], 3: [(3,)], 4: [(4,), (2, 2)]}[world]
    return [weft.DeviceMesh(s, ("a", "b")[: len(s)], device_type="cpu") for s in shapes]


def every_layout(mesh: weft.DeviceMesh, ndim: int, partial: bool = True) -> list[weft.TensorLayout]:
    """Replicated, each dimension split by the first axis (by the second and both too), and a pending sum."""
    axes = mesh.axis_names
    splits: list[tuple] = [(None,) * ndim]
    for d in range(ndim):
        for entry in axes if len(axes) == 1 else (*axes, axes):
            splits.append(tuple(entry if k == d else None for k in range(ndim)))
    if len(axes) > 1:
        splits += [tuple({d: axes[0], e: axes[1]}.get(k) for k in range(ndim)) for d in range(ndim) for e in range(d)]
    found = [weft.TensorLayout(s, mesh) for s in splits]
    if partial:
        found.append(weft.TensorLayout((None,) * ndim, mesh, partial={axes[0]: "sum"}))
    return found
