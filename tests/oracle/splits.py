"""Which splits of an op's inputs need no communication, found by trying, and which of them Weft runs without any.

A split gives one or more tensors of a sample a dimension to be cut in two, the others stay whole. It is free where the
plain op on each half makes halves of the plain result, for each of the op's results or, for some of them, the result
itself. What Weft makes of it is then traced.
"""

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import weft
from oracle import database
from oracle.check import is_plain_tensor, seeded
from support.ranks import RankPool
from torch.utils import _pytree as pytree

MOST_TENSORS, MOST_FREE = 4, 6  # that may be cut; splits of a sample that are looked at
LEAST = 2  # a dimension's length
SAMPLES = 6


def halves(t: torch.Tensor, dim: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    if dim is None:
        return t, t
    first, second = t.chunk(2, dim)
    return first.contiguous(), second.contiguous()


def joined(parts: list[torch.Tensor], whole: torch.Tensor) -> str | None:
    """How the results of the two halves make the whole: same, split, or not at all (None)."""
    a, b = parts
    if a.dtype != whole.dtype or a.dim() != whole.dim():
        return None
    if a.shape == b.shape == whole.shape:
        return "same" if close(a, whole) and close(b, whole) else None
    for d in range(whole.dim()):
        rest = [i for i in range(whole.dim()) if i != d]
        fits = all(a.size(i) == b.size(i) == whole.size(i) for i in rest)
        if fits and a.size(d) + b.size(d) == whole.size(d) and 0 <= a.size(d) - b.size(d) <= 1:
            return "split" if close(torch.cat(parts, d), whole) else None
    return None


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def results(op: Any, arguments: Any) -> list[torch.Tensor]:
    out = seeded(lambda a: op(a[0], *a[1], **a[2]), arguments)
    return [t.detach() for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]


def free_splits(op: Any, arguments: Any) -> Iterator[dict[int, int]]:
    """Free splits of a sample: the dimension that is cut, by the place of the tensor among the arguments' leaves."""
    leaves, spec = pytree.tree_flatten(arguments)
    tensors = [i for i, x in enumerate(leaves) if is_plain_tensor(x)]
    if not tensors or len(tensors) > MOST_TENSORS:
        return
    try:
        whole = results(op, arguments)
    except Exception:
        return
    if not any(t.numel() for t in whole):
        return
    choices = [[None, *(d for d, n in enumerate(leaves[i].shape) if n >= LEAST)] for i in tensors]
    for dims in itertools.product(*choices):
        cut = {i: d for i, d in zip(tensors, dims, strict=True) if d is not None}
        if not cut:
            continue
        try:
            parts = []
            for half in (0, 1):
                mine = [halves(x, cut.get(i))[half] if i in tensors else x for i, x in enumerate(leaves)]
                parts.append(results(op, pytree.tree_unflatten(mine, spec)))
            kinds = [joined([a, b], t) for a, b, t in zip(*parts, whole, strict=True)]
        except Exception:
            continue
        if None not in kinds and "split" in kinds:
            yield cut


def run_splits(name: str, limit: int) -> dict[str, Any]:
    """Runs an op on two ranks: how many free splits were found, and those that Weft communicates for."""
    op, mesh = database.ops()[name], weft.DeviceMesh((2,), ("x",), device_type="cpu")
    found, moved = 0, []
    for index, sample in enumerate(database.samples(op, torch.float32, limit)):
        arguments = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, (sample.input, sample.args, sample.kwargs))
        leaves, spec = pytree.tree_flatten(arguments)
        for cut in itertools.islice(free_splits(op, arguments), MOST_FREE):
            laid_out = list(leaves)
            for i, x in enumerate(leaves):
                if is_plain_tensor(x):
                    axes: list[str | None] = [None] * x.dim()
                    if i in cut:
                        axes[cut[i]] = "x"
                    laid_out[i] = weft.distribute_tensor(x, axes, mesh)
            found += 1
            with weft.trace() as trace:
                seeded(lambda a: op(a[0], *a[1], **a[2]), pytree.tree_unflatten(laid_out, spec))
            if trace.rows:
                shapes = [list(x.shape) for x in leaves if is_plain_tensor(x)]
                moved.append((index, shapes, cut, sorted({r.op for r in trace.rows})))
    return {"found": found, "moved": moved}


def report_splits(args: argparse.Namespace) -> str:
    """Prints a line per op that has a free split; returns the summary."""
    counts = {"all": 0, "some": 0, "none": 0}
    with RankPool(2) as pool:
        for name in database.names(args.only, "float32"):
            if database.is_foreach(database.ops()[name]):
                continue
            try:
                result = pool(run_splits, name, args.samples or SAMPLES, timeout=args.timeout)[0]
            except AssertionError as e:
                print(f"{name:45s} cannot be tried: {str(e)[-200:]}", flush=True)
                continue
            found, moved = result["found"], result["moved"]
            if not found:
                continue
            counts["all" if not moved else "some" if len(moved) < found else "none"] += 1
            print(f"{name:45s} {found - len(moved):3d} of {found:3d} without communication", flush=True)
            for index, shapes, cut, ops in moved if args.verbose else moved[:1]:
                where = ", ".join(f"argument {i} at dimension {d}" for i, d in cut.items())
                print(f"    sample {index}: {shapes}, {where}: {', '.join(ops)}", flush=True)
    ops = sum(counts.values())
    ran = counts["all"] + counts["some"]
    return (
        f"{ops} ops have a split that needs no communication: Weft makes none for {ran} of them "
        f"({ran / max(ops, 1):.1%}), for {counts['all']} whichever of the splits found is taken"
    )
