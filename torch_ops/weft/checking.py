"""Whether a model gives the same sharded as plain, and where it first does not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .check_first import Comparison, ranks_apart
from .check_ranks import together
from .check_report import Check
from .check_runs import Runs
from .check_steps import Step
from .check_values import scalar
from .layout_map import LayoutMap

_VALUES = ("forward", "backward", "buffer")  # kinds of differences that rounding can make


def check(
    model_fn: Callable[[], torch.nn.Module],
    batch: Any,
    layouts: LayoutMap | Callable[[torch.nn.Module], LayoutMap],
    *,
    batch_axis: str | Sequence[str] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    dtype: torch.dtype | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> Check:
    """Runs one step of a model plain and sharded, and tells where they first differ: module, op, variable.

    The step is forward, loss and backward. Compared are the output of each module's call, in order, the loss, every
    gradient and every buffer. Where something differs, both steps run again to find the first op that gives for its
    sharded operands what it does not give for the full ones. Random ops draw plain torch's stream. That the plain step
    is the same on all ranks is made sure of first. A difference that is gone in float64 is told as rounding, and counts
    as none. Every rank makes the call and gets the same answer.

        found = weft.check(lambda: Net(), batch, lambda model: weft.layouts.megatron(model, mesh, "model"))
        print(found)
        assert found.ok

    It keeps all activations of both steps, whole: take a model of few layers and a small batch.

    Args:
        model_fn: makes the model, with the same values whenever it is called after `torch.manual_seed(seed)`.
        batch: plain, the same on all ranks: a mapping is passed as keywords, a tuple or list as arguments.
        layouts: a map, or a function that makes it for the model.
        batch_axis: mesh axis, or several, over which the batch's tensors are split along dimension 0; default: those
            of `weft.layouts.fsdp`, where it made the map, else none.
        loss: of (output, batch); default: the output's own `loss`, or the output where it is one number, else the mean
            square of what it holds.
        dtype: to which the model and the fractions of the batch are converted.
        tolerance: relative difference, to the largest element, that is none; default by dtype: 1e-3 for float32.
        seed: of the model's values and of the step's random ops. The random state is put back at the end.

    Returns:
        A `Check`, also where the sharded step raises what the plain one does not: the ranks may be out of step then, as
        its text says, and have to be started again.

    Raises:
        ValueError: on all ranks: the arguments are of other kinds than these, `model_fn` gives other values when it is
            called again, or the layouts do not fit the model.
        RuntimeError: on all ranks: the plain step raises on one; there its own error.
    """
    begin = time.monotonic()
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        runs = Runs(model_fn, batch, layouts, batch_axis, loss, dtype, tolerance, seed)
        found = _check(runs)
        first = found.first
        if first is not None and first.kind in _VALUES and runs.dtype_of_model != torch.float64:
            wide = _again(Runs(model_fn, batch, layouts, batch_axis, loss, torch.float64, tolerance, seed))
            if wide is not None and wide.ok:
                note = f"rounding: relative differences up to {found.worst:.1e}, {wide.worst:.1e} in float64"
                found = dataclasses.replace(found, first=None, notes=(*found.notes, note))
        return dataclasses.replace(found, seconds=time.monotonic() - begin)
    finally:
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _again(runs: Runs) -> Check | None:
    """The same check in another dtype; None for a model that does not run in it."""
    try:
        return _check(runs)
    except (RuntimeError, ValueError, TypeError):
        return None


def _check(runs: Runs) -> Check:
    plain, facts = together(runs.plain_step)
    dtypes = [p.dtype for p in plain.model.parameters() if p.is_floating_point()]
    runs.dtype_of_model = dtypes[0] if dtypes else torch.get_default_dtype()
    if runs.tolerance is None:
        runs.tolerance = max(1e-5, 2 * torch.finfo(runs.dtype_of_model).eps ** 0.45)
    mesh = together(lambda: runs.map_for(plain.model)).device_mesh
    report: dict[str, Any] = {"mesh": str(mesh), "loss": scalar(plain.loss), "notes": (), "seconds": 0.0}
    apart = ranks_apart(facts)
    runs.facts = facts
    if apart is not None:
        nothing: dict[str, Any] = {
            "outputs": 0,
            "gradients": 0,
            "sharded_loss": None,
            "worst": 0.0,
            "collectives": 0,
            "bytes": 0,
        }
        return Check(first=apart, **report, **nothing)
    sharded = Step(runs.sharded_model(plain))
    error = runs.attempt(sharded, plain)
    report |= {"collectives": len(runs.moved), "bytes": runs.moved.total_bytes, "sharded_loss": None}
    if error is not None:
        return Check(first=error, **report, outputs=len(sharded.values), gradients=0, worst=0.0)
    found, worst, gradients = Comparison(runs).compared(plain, sharded)
    report["sharded_loss"] = scalar(sharded.loss)
    return Check(first=found, **report, outputs=len(plain.values), gradients=gradients, worst=worst)
