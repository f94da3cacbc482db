"""What runs on each rank: all samples of one op."""

import traceback
import warnings
from typing import Any

import torch
import weft
from oracle import database
from oracle.check import Case, check_call, check_in_place, check_out, check_refused, is_plain_tensor
from oracle.compare import Wrong
from oracle.database import DTYPES
from support.plan_log import PlanLog
from torch.utils import _pytree as pytree

UNDEFINED = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")  # values
REFUSED = ("resize_", "resize_as_", "set_", "to_sparse")  # it has no memory of its own, and is strided
VIEWS = ("as_strided", "squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims")  # in place: a new layout


def mesh_of(shape: tuple[int, ...]) -> weft.DeviceMesh:
    return weft.DeviceMesh(shape, tuple("xyz"[: len(shape)]), device_type="cpu")


def warm_up(choices: int) -> None:
    """The imports take longer than most ops. With `choices`, a seed, plans are drawn from all that the rules allow."""
    database.ops()
    torch.ops.weft._draw_choices(choices)


def note(path: str | None, text: str) -> None:
    if path:
        with open(f"{path}.{torch.distributed.get_rank()}", "w") as f:
            f.write(text)


def in_step(error: str | None) -> list[str | None]:
    """Each rank's verdict, so that all go on from the same place."""
    out: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(out, error)
    return out


def attempt(results: dict, label: str, describe: str, fn: Any, *args: Any) -> None:
    if results.get("out_of_step"):
        return
    error = None
    try:
        ran = fn(*args)
        if not ran:
            results["skipped"] += label != "sample"
            return
    except Wrong as e:
        error = f"{e.kind}|{e}"
    except Exception as e:
        text = str(e).split("\nException raised")[0][:500]
        where = "".join(traceback.format_exc(limit=-2)) if isinstance(e, (TypeError, AttributeError)) else ""
        error = f"raised|{type(e).__name__}: {text}{where[-300:]}"
    everywhere = in_step(error)
    results["ran"] += 1
    first = next((e for e in everywhere if e), None)
    if first is None:
        results["passed"] += 1
        return
    kind, _, text = first.partition("|")
    results["out_of_step"] = "out of step" in text  # nothing that communicates runs on these ranks any more
    if any(e is None for e in everywhere):
        text += f" (on ranks {[r for r, e in enumerate(everywhere) if e]} only)"
    results["failures"].append({"kind": kind, "what": label, "text": text, "case": describe})


def empty_results() -> dict[str, Any]:
    return {"ran": 0, "passed": 0, "skipped": 0, "without_tensors": 0, "bytes": 0, "failures": [], "ops": {}}


def run_op(
    name: str, dtype_name: str, shape: tuple[int, ...], seed: int, limit: int | None, draws: int, progress: str | None
) -> dict:
    """Checks an op; a dict of counts, failures and the aten ops that ran."""
    warnings.simplefilter("ignore")
    op, mesh, results = database.ops()[name], mesh_of(shape), empty_results()
    with weft.random_mode("replay"), PlanLog() as plans:
        for i, sample in enumerate(database.samples(op, DTYPES[dtype_name], limit)):
            where = f"{seed}-{name}-{dtype_name}-{i}"
            attempt(results, "sample", str(i), check_sample, op, sample, i, mesh, where, draws, results, progress)
    results["ops"] = plans.ops()
    return results


def run_ops(names: list[str], dtype: str, shape: tuple[int, ...], seed: int, limit: int, draws: int) -> dict[str, dict]:
    """Several ops in one call; results by op."""
    return {name: run_op(name, dtype, shape, seed, limit, draws, None) for name in names}


def check_sample(
    op: Any, sample: Any, index: int, mesh: Any, seed: str, draws: int, results: dict, progress: str | None
) -> None:
    arguments = (sample.input, sample.args, sample.kwargs)
    tensors = [x for x in pytree.tree_leaves(arguments) if isinstance(x, torch.Tensor)]
    if not all(is_plain_tensor(x) for x in tensors):
        return  # sparse tensors are none of ours
    if not tensors:
        results["without_tensors"] += 1
        return

    def run(a: Any) -> Any:
        out = op(a[0], *a[1], **a[2])
        return out.zero_() if op.name in UNDEFINED else out

    def run_in_place(a: Any) -> Any:
        return op.inplace_variant(a[0], *a[1], **a[2])

    def run_out(a: Any, out: Any) -> Any:
        return op(a[0], *a[1], **a[2]) if out is None else op(a[0], *a[1], **a[2], out=out)

    def check(label: str, draw: str, check_it: Any, run: Any, *rest: Any, first: str | None = None) -> None:
        case = Case(arguments, mesh, f"{seed}-{draw}", first=first)
        describe = f"sample {index} {label} {draw}: {case.describe()}"
        note(progress, describe)
        attempt(results, label, describe, check_it, run, case, *rest)
        results["bytes"] += case.bytes

    if op.name in REFUSED:
        return check("refused", "0", check_refused, run, first="sharded")
    for draw in range(draws):
        check("call", str(draw), check_call, run, sample.output_process_fn_grad, True, mesh, f"{seed}-{draw}")
    if op.inplace_variant is not None and not sample.broadcasts_input:
        check("in place", "in", check_in_place, run_in_place, op.name not in VIEWS, first="sharded")
    if op.supports_out and not database.is_foreach(op):
        check("out=", "out", check_out, run_out, mesh, f"{seed}-out")


def run_family(
    family: str, shape: tuple[int, ...], seed: int, draws: int, progress: str | None, only: str | None = None
) -> dict[str, dict]:
    """Checks a family of extra.py; results by sample."""
    from oracle.extra import samples

    warnings.simplefilter("ignore")
    mesh, out = mesh_of(shape), {}
    for name, fn, args, keywords in samples(family):
        if only and only not in name:
            continue
        results = empty_results()
        with weft.random_mode("replay"), PlanLog() as plans:
            for draw in range(draws):
                attempt(
                    results,
                    "sample",
                    str(draw),
                    check_extra,
                    fn,
                    (args, keywords),
                    mesh,
                    f"{seed}-{name}-{draw}",
                    results,
                    progress,
                )
        results["ops"] = plans.ops()
        out[name] = results
    return out


def check_extra(fn: Any, arguments: tuple, mesh: Any, seed: str, results: dict, progress: str | None) -> None:
    case = Case(arguments, mesh, seed)
    describe = f"{seed}: {case.describe()}"
    note(progress, describe)
    attempt(results, "call", describe, check_call, lambda a: fn(*a[0], **a[1]), case, lambda x: x, True, mesh, seed)
    results["bytes"] += case.bytes
