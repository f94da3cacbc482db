"""What runs on each rank: all samples of one op."""

import random
import traceback
import warnings
from itertools import islice
from typing import Any

import torch
import weft
from check import Case, check_call, check_in_place, check_out
from compare import Wrong
from support.plan_log import PlanLog
from torch.utils import _pytree as pytree

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "int64": torch.int64,
    "bool": torch.bool,
    "bfloat16": torch.bfloat16,
    "complex64": torch.complex64,
}


UNDEFINED = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")  # values
REFUSED = ("resize_", "resize_as_", "set_")  # a sharded tensor has no memory of its own
VIEWS = ("as_strided", "squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims")  # in place: a new layout


def mesh_of(shape: tuple[int, ...]) -> weft.DeviceMesh:
    return weft.DeviceMesh(shape, tuple("xyz"[: len(shape)]), device_type="cpu")


def warm_up() -> None:
    """The imports take longer than most ops."""
    find_op("add")


def find_op(name: str) -> Any:
    from torch.testing._internal.common_methods_invocations import op_db

    return next(op for op in op_db if full_name(op) == name)


def full_name(op: Any) -> str:
    return op.name + (f"[{op.variant_test_name}]" if op.variant_test_name else "")


def samples_of(op: Any, dtype: torch.dtype, limit: int) -> list[Any]:
    torch.manual_seed(3)
    random.seed(3)
    grad = dtype.is_floating_point or dtype.is_complex
    grad = grad and op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    samples = list(islice(op.sample_inputs("cpu", dtype, requires_grad=grad), 200))
    if len(samples) <= limit:
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


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
    if any(e is None for e in everywhere):
        text += f" (on ranks {[r for r, e in enumerate(everywhere) if e]} only)"
    results["failures"].append({"kind": kind, "what": label, "text": text, "case": describe})


def run_op(
    name: str, dtype_name: str, shape: tuple[int, ...], seed: int, limit: int, draws: int, progress: str | None
) -> dict:
    """Checks an op; a dict of counts, failures and the aten ops that ran."""
    warnings.simplefilter("ignore")
    op, dtype, mesh = find_op(name), DTYPES[dtype_name], mesh_of(shape)
    results: dict[str, Any] = {"ran": 0, "passed": 0, "skipped": 0, "failures": [], "ops": {}}
    if op.name in UNDEFINED or op.name in REFUSED:
        return results
    with PlanLog() as plans:
        for i, sample in enumerate(samples_of(op, dtype, limit)):
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
    post = sample.output_process_fn_grad
    arguments = (sample.input, sample.args, sample.kwargs)

    def run(a: Any) -> Any:
        return op(a[0], *a[1], **a[2])

    if any(isinstance(x, torch.Tensor) and x.layout != torch.strided for x in pytree.tree_leaves(arguments)):
        return  # sparse tensors are none of ours
    weft.random_mode("replay")
    for draw in range(draws):
        case = Case(arguments, mesh, f"{seed}-{draw}")
        if not any(layout is not None for layout in case.layouts):
            return
        describe = f"sample {index} draw {draw}: {case.describe()}"
        note(progress, describe)
        attempt(results, "call", describe, check_call, run, case, post, True, mesh, f"{seed}-{draw}")
    if op.inplace_variant is not None and not sample.broadcasts_input:
        case = Case(arguments, mesh, f"{seed}-in", first="sharded")
        describe = f"sample {index} in place: {case.describe()}"
        note(progress, describe)

        def run_in_place(a: Any) -> Any:
            return op.inplace_variant(a[0], *a[1], **a[2])

        attempt(results, "in place", describe, check_in_place, run_in_place, case, op.name not in VIEWS)
    if op.supports_out:
        case = Case(arguments, mesh, f"{seed}-out")
        describe = f"sample {index} out=: {case.describe()}"
        note(progress, describe)

        def run_out(a: Any, out: Any) -> Any:
            return op(a[0], *a[1], **a[2]) if out is None else op(a[0], *a[1], **a[2], out=out)

        attempt(results, "out=", describe, check_out, run_out, case, mesh, f"{seed}-out")


def run_family(
    family: str, shape: tuple[int, ...], seed: int, draws: int, progress: str | None, only: str | None = None
) -> dict[str, dict]:
    """Checks a family of extra.py; results by sample."""
    from extra import samples

    warnings.simplefilter("ignore")
    weft.random_mode("replay")
    mesh, out = mesh_of(shape), {}
    for name, fn, args, keywords in samples(family):
        if only and only not in name:
            continue
        results: dict[str, Any] = {"ran": 0, "passed": 0, "skipped": 0, "failures": []}
        with PlanLog() as plans:
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
