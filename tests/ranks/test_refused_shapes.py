"""Shapes that plain torch refuses are refused, though the shards' would go together: a dimension as long as there are
ranks has one element on each, which is broadcast against anything."""

import warnings

import pytest
import torch
import torch.nn.functional as F
import weft
from support.cases import check, error_of, run_cases
from support.ranks import RankPool

ROWS = torch.tensor([0, 1])
MASK = torch.tensor([True, True, False, False])
IN_PLACE = "add_ mul_ copy_ atan2_ fmod_ lt_ clamp_min_ floor_divide_ xlogy_".split()
FOREACH = [
    name
    for name in dir(torch)
    if name.startswith("_foreach_") and not any(word in name for word in ("addc", "lerp", "mm", "pow.", "norm"))
]


def assign(t, where, value):
    t[where] = value


# Of x, 4 by 6, and v, 4 by the number of ranks.
CASES = {
    **{name: lambda x, v, name=name: getattr(x, name)(v) for name in IN_PLACE},
    **{name: lambda x, v, name=name: getattr(torch, name)([x, x.clone()], [v, v]) for name in FOREACH},
    "_foreach_addcmul_": lambda x, v: torch._foreach_addcmul_([x], [v], [v]),
    "_foreach_lerp_": lambda x, v: torch._foreach_lerp_([x], [v], 0.5),
    "addcmul_": lambda x, v: x.addcmul_(v, v),
    "masked_fill_": lambda x, v: x.masked_fill_(v > 0.5, 1.0),
    "rows": lambda x, v: assign(x, ROWS, v[:2]),
    "masked rows": lambda x, v: assign(x, MASK, v[:2]),
    "slice": lambda x, v: assign(x, slice(1, 3), v[:2]),
    "index_put": lambda x, v: x.index_put((ROWS,), v[:2], accumulate=True),
    "index_put of too many dimensions": lambda x, v: x.index_put((ROWS,), v[:2, None, :1].expand(2, 2, 1)),
    "index_add_": lambda x, v: x.index_add_(0, ROWS, v[:2]),
    "layer_norm": lambda x, v: F.layer_norm(x, v.shape[1:]),
    "layer_norm over other rows": lambda x, v: F.layer_norm(x, (3, 6)),
    "rms_norm": lambda x, v: F.rms_norm(x, v.shape[1:]),
    "batch_norm": lambda x, v: F.batch_norm(x, v[0], v[0].clone()),
    "mse_loss": lambda x, v: F.mse_loss(x, v),
    "binary_cross_entropy": lambda x, v: F.binary_cross_entropy(x, v),
    "binary_cross_entropy_with_logits": lambda x, v: F.binary_cross_entropy_with_logits(x, v),
    "huber_loss": lambda x, v: F.huber_loss(x, v),
    "where": lambda x, v: torch.where(v > 0.5, x, x),
    "linear": lambda x, v: F.linear(x, v),
    "mv": lambda x, v: torch.mv(x, v[0]),
    "dot": lambda x, v: torch.dot(x[0], v[0]),
}


def refused(f, n: int) -> None:
    torch.manual_seed(0)
    mesh = weft.DeviceMesh((n,), ("x",), device_type="cpu")
    x, v = torch.rand(4, 6), torch.rand(4, n)
    kind, text, _ = error_of(lambda: f(x.clone(), v.clone()))
    if not kind or "takes" in text or "argument" in text and "must be" in text:  # it is no op of two lists
        return
    for of_x, of_v in ((None, "x"), None), ((None, "x"), (None, "x")), (("x", None), (None, "x")), ((), (None, "x")):
        mine = weft.distribute_tensor(x, of_x or (None, None), mesh)
        theirs = v.clone() if of_v is None else weft.distribute_tensor(v, of_v, mesh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got, text, _ = error_of(lambda mine=mine, theirs=theirs: f(mine, theirs))
        assert got == kind, f"{of_x}, {of_v}: {got} {text}, not {kind}"
        assert torch.equal(weft.full_tensor(mine), x), f"{of_x}, {of_v}: it has been written"


# Whose kernels begin with a check of C++'s: nothing is gathered to be told the same.
TOLD_AT_ONCE = {
    "mm": lambda x, v: x @ v,
    "add": lambda x, v: x + v,
    "cat": lambda x, v: torch.cat([x, v]),
    "bmm": lambda x, v: torch.bmm(x[None], v[None]),
    "gather": lambda x, v: x.gather(2, v.long()),
    "softmax": lambda x, v: x.softmax(2),
    "sum": lambda x, v: x.sum((0, 0)),
    "scatter_add": lambda x, v: x.scatter_add(0, x, x),
}


def told_at_once(f, n: int) -> None:
    mesh = weft.DeviceMesh((n,), ("x",), device_type="cpu")
    x, v = torch.rand(4, 6), torch.rand(4, n + 6)
    told = error_of(lambda: f(x, v))[:2]
    assert told[0], "plain torch refuses it"
    for of_x, of_v in ((None, "x"), ("x", None)), (("x", None), (None, "x")):
        with weft.strict():
            got = error_of(
                lambda a=of_x, b=of_v: f(weft.distribute_tensor(x, a, mesh), weft.distribute_tensor(v, b, mesh))
            )
        assert got[:2] == told, f"{of_x}, {of_v}: {got}, not {told}"


def all_cases(n: int) -> dict[str, str]:
    assert len(FOREACH) > 40
    return run_cases(
        {name: lambda f=f: refused(f, n) for name, f in CASES.items()}
        | {f"at once: {name}": lambda f=f: told_at_once(f, n) for name, f in TOLD_AT_ONCE.items()}
    )


@pytest.mark.parametrize("world", [2, 3])
def test_shapes(world: int, request: pytest.FixtureRequest) -> None:
    pool: RankPool = request.getfixturevalue(f"ranks{world}")
    results = pool(all_cases, world, timeout=240)
    for name in results[0]:
        check(results, name)
