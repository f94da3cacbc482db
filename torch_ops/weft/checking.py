"""Whether a model gives the same sharded as plain, and where it first does not."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .check_ranks import gathered, together
from .check_report import Check, Difference
from .check_steps import Step, Value
from .check_values import alike, apart, brief, largest_of, part_of, scalar, summary, variables, whole
from .layout_map import LayoutMap
from .module import distribute_module
from .process import rank
from .strings import shown
from .switches import random_mode
from .tensors import _map, is_sharded, local_tensor, shard_batch
from .tracing import trace

_VALUES = ("forward", "backward", "buffer")  # kinds of differences that rounding can make
_SMALL = 1e-3  # of the largest of all values, or gradients: what is smaller is measured against that
_QUIET = 2.0  # seconds before a terminal is told what is being done


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
    gradient and every buffer; where something differs, both steps run again to find the op. Random ops draw plain
    torch's stream. That the plain step is the same on all ranks is made sure of first. A difference that is gone
    in float64 is told as rounding, and counts as none. Every rank makes the call and gets the same answer.

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
        run = _Run(model_fn, batch, layouts, batch_axis, loss, dtype, tolerance, seed)
        found = run.check()
        first = found.first
        if first is not None and first.kind in _VALUES and run.dtype_of_model != torch.float64:
            wide = _Run(model_fn, batch, layouts, batch_axis, loss, torch.float64, tolerance, seed).again()
            if wide is not None and wide.ok:
                note = f"rounding: relative differences up to {found.worst:.1e}, {wide.worst:.1e} in float64"
                found = dataclasses.replace(found, first=None, notes=(*found.notes, note))
        return dataclasses.replace(found, seconds=time.monotonic() - begin)
    finally:
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


class _Run:
    def __init__(
        self,
        model_fn: Any,
        batch: Any,
        layouts: Any,
        batch_axis: Any,
        loss: Any,
        dtype: Any,
        tolerance: Any,
        seed: int,
    ) -> None:
        self.model_fn, self.layouts, self.batch_axis, self.loss = model_fn, layouts, batch_axis, loss
        self.dtype, self.tolerance, self.seed = dtype, tolerance, seed
        together(self.validate)
        self.batch = together(lambda: _map(batch, self.cast))
        self.dtype_of_model: torch.dtype | None = None
        self.begin = self.told = time.monotonic()

    def validate(self) -> None:
        if isinstance(self.model_fn, torch.nn.Module) or not callable(self.model_fn):
            raise ValueError("check: pass a function that makes the model, such as `lambda: Net()`: two are needed")
        if not isinstance(self.layouts, LayoutMap) and not callable(self.layouts):
            raise ValueError(
                f"check: layouts must be a LayoutMap or a function of the model, not {shown(self.layouts)}"
            )
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"check: tolerance must be above 0, not {shown(self.tolerance)}")

    def cast(self, t: torch.Tensor) -> torch.Tensor:
        if is_sharded(t):
            raise ValueError("check: the batch must be plain; batch_axis says over which axes it is split")
        return t.to(self.dtype) if self.dtype is not None and t.is_floating_point() else t

    def model(self) -> torch.nn.Module:
        torch.manual_seed(self.seed)
        model = self.model_fn()
        if not isinstance(model, torch.nn.Module):
            raise ValueError(f"check: model_fn must give a torch.nn.Module, not {type(model).__name__}")
        meta = [n for n, p in model.named_parameters() if p.is_meta]
        if meta:
            raise ValueError(f"check: {meta[0]} is on the meta device; the plain step needs values")
        return model.to(self.dtype) if self.dtype is not None else model

    def again(self) -> Check | None:
        """In another dtype, which not every model bears: None."""
        try:
            return self.check()
        except (RuntimeError, ValueError, TypeError):
            return None

    def check(self) -> Check:
        plain, facts = together(self.plain_step)
        dtypes = [p.dtype for p in plain.model.parameters() if p.is_floating_point()]
        self.dtype_of_model = dtypes[0] if dtypes else torch.get_default_dtype()
        if self.tolerance is None:
            self.tolerance = max(1e-5, 2 * torch.finfo(self.dtype_of_model).eps ** 0.45)
        mesh = together(lambda: self.map_for(plain.model)).device_mesh
        report: dict[str, Any] = {"mesh": str(mesh), "loss": scalar(plain.loss), "notes": (), "seconds": 0.0}
        apart = self.ranks_apart(plain, facts)
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
        sharded = Step(self.sharded_model(plain))
        error = self.attempt(sharded, plain)
        report |= {"collectives": len(self.moved), "bytes": self.moved.total_bytes, "sharded_loss": None}
        if error is not None:
            return Check(first=error, **report, outputs=len(sharded.values), gradients=0, worst=0.0)
        found, worst, gradients = self.compared(plain, sharded)
        report["sharded_loss"] = scalar(sharded.loss)
        return Check(first=found, **report, outputs=len(plain.values), gradients=gradients, worst=worst)

    def map_for(self, model: torch.nn.Module) -> LayoutMap:
        layouts = self.layouts if isinstance(self.layouts, LayoutMap) else self.layouts(model)
        if not isinstance(layouts, LayoutMap):
            raise ValueError(f"check: layouts(model) must give a LayoutMap, not {type(layouts).__name__}")
        return layouts

    # ---- steps -----------------------------------------------------------------------------------------------------

    def plain_step(self, **asked: Any) -> tuple[Step, list]:
        """And what it gave, in a few numbers each, for the other ranks."""
        self.tell("the plain step")
        step = Step(self.model(), **asked)
        facts = [("variable", path, summary(t)) for path, t in variables(step.model).items()]
        torch.manual_seed(self.seed)
        step.run(self.batch, self.loss)
        facts += [("output", str(step.calls[v.call]), summary(v.tensor)) for v in step.values]
        return step, facts

    def sharded_model(self, plain: Step | None = None) -> torch.nn.Module:
        self.tell("the sharded step")

        def build() -> tuple[torch.nn.Module, LayoutMap]:
            model = self.model()
            if plain is not None:
                before = {path: numbers for kind, path, numbers in self.before}
                other = [n for n, t in variables(model).items() if not alike(summary(t), before.get(n, []), 1e-6)]
                if other:
                    raise ValueError(
                        f"check: model_fn gives {other[0]} another value when it is called again: it must depend on "
                        "torch's random state alone"
                    )
            return model, self.map_for(model)

        model, layouts = together(build)
        self.axes = self.batch_axis
        if self.axes is None and layouts._plan is not None:
            self.axes = tuple(a for a in layouts.device_mesh.axis_names if a in layouts._plan.inner)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that values differ between ranks has been looked at
            distribute_module(model, layouts)
        self.device_mesh = layouts.device_mesh
        return model

    def attempt(self, step: Step, plain: Step | None = None, backward: bool = True) -> Difference | None:
        """Runs the sharded step; an error that it raises is a finding."""
        batch = shard_batch(self.batch, self.device_mesh, self.axes) if self.axes else self.batch
        torch.manual_seed(self.seed)
        text = ""
        try:
            with random_mode("replay"), trace() as self.moved:
                step.run(batch, self.loss, backward)
        except Exception as e:
            text = f"{type(e).__name__}: {e}"
        try:  # where this rank raised alone, the others wait for it in a collective of the step
            torch.ops.weft.check_same(list(text.encode()), "check: whether the sharded step raised")
        except (ValueError, RuntimeError) as e:
            text = text or f"{type(e).__name__}: {e}"
        stopped = step.open[-1] if step.open else len(step.calls)
        raised = sorted((at, r, t) for r, (at, t) in enumerate(gathered((stopped, text))) if t)
        if not raised:
            return None
        # The ranks may be out of step, and cannot send each other what they have. Where a part is wrong that a rank has
        # itself, it came from there; else from where a rank stopped while the others went on.
        wrong = self.first_wrong_part(plain.values, step.values) if plain is not None else None
        found = min(gathered((raised[0][0] if wrong is None else wrong, wrong is None)))
        module = str(step.calls[found[0]]) if found[0] < len(step.calls) else ""
        text = f"the sharded step raised on rank {raised[0][1]} what the plain one does not: {raised[0][2]}"
        if not found[1]:
            text = f"the output of {module} is not as plain on every rank; {text}"
        return Difference("error", module, "", "", (), float("nan"), float("nan"), text)

    def first_wrong_part(self, plain: list[Value], sharded: list[Value]) -> int | None:
        """The first call of which this rank has a wrong part; what is pending nobody has."""
        for want, got in zip(plain, sharded, strict=False):
            if (want.call, want.key) != (got.call, got.key):
                break
            part = part_of(want.tensor, got.tensor)
            if (
                part is not None
                and apart(local_tensor(got.tensor), part, float(want.tensor.abs().max()))[1] > self.tolerance
            ):
                return got.call
        return None

    # ---- comparing -------------------------------------------------------------------------------------------------

    def ranks_apart(self, plain: Step, facts: list) -> Difference | None:
        """What the plain step gave on one rank alone: then nothing sharded can be right."""
        self.before = [f for f in facts if f[0] == "variable"]
        everyone = gathered(facts)
        for number, mine in enumerate(everyone[0]):
            for r, theirs in enumerate(everyone):
                other = theirs[number] if number < len(theirs) else ("nothing", "", [])
                if other[:2] == mine[:2] and alike(other[2], mine[2], 1e-5):
                    continue
                kind, name = mine[:2]
                text = (
                    f"the plain step differs between ranks: {kind} of {name} is {brief(mine[2])} on rank 0, but on "
                    f"rank {r} {other[0]} of {other[1]} is {brief(other[2])}; every rank must run the same model on "
                    "the same batch"
                )
                named = (name,) if kind == "variable" else ()
                module = name if kind == "output" else ""
                return Difference("ranks", module, "", "", named, float("nan"), float("nan"), text)
        return None

    def compared(self, plain: Step, sharded: Step) -> tuple[Difference | None, float, int]:
        """The first difference, the largest relative one of all, and how many gradients there are."""
        self.top = largest_of(v.tensor for v in plain.values)
        wrong, worst = self.first_wrong(plain.values, sharded.values)
        if wrong is not None:
            value, largest, relative, text = wrong
            return self.in_forward(sharded, value, largest, relative, text), worst, 0
        self.tell("comparing gradients")
        ours = dict(sharded.model.named_parameters())
        wanted = {n: p.grad for n, p in plain.model.named_parameters()}
        top = largest_of(g for g in wanted.values() if g is not None)
        found: list[tuple] = []
        for path in reversed(wanted):  # about the order in which they are made
            want, got = wanted[path], ours[path].grad
            if (want is None) != (got is None):
                found.append(
                    (path, float("nan"), float("inf"), "has a gradient" if want is None else "has no gradient")
                )
            elif want is not None and got is not None:
                found.append((path, *apart(whole(got), want, _SMALL * top)))
        buffers = dict(sharded.model.named_buffers())
        for path, want in plain.model.named_buffers():
            found.append((path, *apart(whole(buffers[path]), want, _SMALL * self.top)))
        worst = max([worst, *(f[2] for f in found)])
        bad = self.first_of([f for f in found if f[2] > self.tolerance])
        if bad is None:
            return None, worst, sum(g is not None for g in wanted.values())
        path, largest, relative, text = bad
        if path in buffers:
            first = Difference("buffer", "", "", "", (path,), largest, relative, f"buffer {path} {text}")
        else:
            first = self.in_backward(path, largest, relative, text)
        return first, worst, sum(g is not None for g in wanted.values())

    def first_wrong(self, plain: list[Value], sharded: list[Value]) -> tuple[tuple | None, float]:
        """The first value of the sharded step that is not the plain step's of the same key."""
        wanted: dict[tuple, list[Value]] = {}
        for v in plain:
            wanted.setdefault((v.call, v.key), []).append(v)
        bad, worst = [], 0.0
        for number, v in enumerate(sharded):
            self.tell(f"comparing value {number} of {len(sharded)}")
            same = wanted.get((v.call, v.key))
            if not same:
                continue
            largest, relative, text = apart(whole(v.tensor), same.pop(0).tensor, _SMALL * self.top)
            worst = max(worst, relative)
            if relative > self.tolerance:
                bad.append((number, largest, relative, text))
        first = self.first_of(bad)
        return (None, worst) if first is None else ((sharded[first[0]], *first[1:]), worst)

    def first_of(self, bad: list[tuple]) -> tuple | None:
        """The first on any rank: a value that each holds whole may be wrong on one."""
        found = [b for b in gathered(bad[:1]) if b]
        if not found or isinstance(found[0][0][0], str):
            return found[0][0] if found else None
        return min((b[0] for b in found), key=lambda b: b[0])

    def in_forward(self, sharded: Step, value: Value, largest: float, relative: float, text: str) -> Difference:
        """The op of that call that is wrong first: its modules inside are right."""
        module = str(sharded.calls[value.call])
        op = self.first_op(False, ops_of=value.call)
        if op is None:
            return Difference("forward", module, "", "", (), largest, relative, f"the output of {module} {text}")
        v, largest, relative, text = op
        text = f"[{v.op}] in {module}: its result {text}"
        return Difference("forward", module, v.op, v.operands, v.variables, largest, relative, text)

    def in_backward(self, path: str, largest: float, relative: float, text: str) -> Difference:
        op = self.first_op(True, backward_ops=True)
        if op is None:
            return Difference("backward", "", "", "", (path,), largest, relative, f"the gradient of {path} {text}")
        v, largest, relative, why = op
        module = str(self.calls[v.call])
        text = f"[{v.op}] in {module}: its result {why}, and the gradient of {path} {text}"
        return Difference("backward", module, v.op, v.operands, v.variables or (path,), largest, relative, text)

    def first_op(self, backward: bool, **asked: Any) -> tuple | None:
        self.tell("looking for the op")
        plain, _ = together(lambda: self.plain_step(**asked))
        sharded = Step(self.sharded_model(), **asked)
        if self.attempt(sharded, backward=backward) is not None:
            return None
        self.calls = sharded.calls
        return self.first_wrong(plain.values, sharded.values)[0]

    def tell(self, what: str) -> None:
        """To a terminal, where it takes long."""
        now = time.monotonic()
        if now - self.begin > _QUIET and now - self.told > 1 and rank() == 0 and sys.stderr.isatty():
            self.told = now
            print(f"weft.check: {now - self.begin:.0f} s, {what}", file=sys.stderr)
