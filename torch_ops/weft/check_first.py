"""Where the sharded step first is not as the plain one: on one rank, in a module, an op, a gradient, a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .check_ranks import gathered, together
from .check_report import Difference
from .check_runs import Runs
from .check_steps import Step, Value
from .check_values import alike, apart, brief, dense, largest_of
from .tensors import value_of

_SMALL = 1e-3  # of the largest of all values, or gradients: what is smaller is measured against that


def ranks_apart(facts: list) -> Difference | None:
    """What the plain step gave on one rank alone: then nothing sharded can be right."""
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


class Comparison:
    """Compares two steps that have run. Where their values differ both run again, to find the op."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def compared(self, plain: Step, sharded: Step) -> tuple[Difference | None, float, int]:
        """The first difference, the largest relative one of all, and how many gradients there are."""
        self.top = largest_of(v.tensor for v in plain.values)
        outputs = {(v.call, v.key): v.tensor for v in plain.values}
        wrong, worst = self.first_wrong(sharded, lambda v: outputs.get((v.call, v.key)))
        if wrong is not None:
            value, largest, relative, text = wrong
            return self.in_forward(value, largest, relative, text), worst, 0
        self.runs.tell("comparing gradients")
        ours = {n: dense(p.grad) for n, p in sharded.model.named_parameters()}
        wanted = {n: dense(p.grad) for n, p in plain.model.named_parameters()}
        top = largest_of(g for g in wanted.values() if g is not None)
        found: list[tuple] = []
        for path in reversed(wanted):  # about the order in which they are made
            want, got = wanted[path], ours[path]
            if (want is None) != (got is None):
                found.append(
                    (path, float("nan"), float("inf"), "has a gradient" if want is None else "has no gradient")
                )
            elif want is not None and got is not None:
                found.append((path, *apart(value_of(got), want, _SMALL * top)))
        buffers = dict(sharded.model.named_buffers())
        for path, want in plain.model.named_buffers():
            found.append((path, *apart(value_of(buffers[path]), want, _SMALL * self.top)))
        worst = max([worst, *(f[2] for f in found)])
        bad = self.first_of([f for f in found if f[2] > self.runs.tolerance])
        if bad is None:
            return None, worst, sum(g is not None for g in wanted.values())
        path, largest, relative, text = bad
        if path in buffers:
            first = Difference("buffer", "", "", "", (path,), largest, relative, f"buffer {path} {text}")
        else:
            first = self.in_backward(path, largest, relative, text)
        return first, worst, sum(g is not None for g in wanted.values())

    def first_wrong(self, step: Step, expected: Callable[[Value], torch.Tensor | None]) -> tuple[tuple | None, float]:
        """The first value of the step that is not what is expected of it; None: nothing is."""
        bad, worst = [], 0.0
        for number, v in enumerate(step.values):
            self.runs.tell(f"comparing value {number} of {len(step.values)}")
            want = expected(v)
            if want is None:
                continue
            largest, relative, text = apart(value_of(v.tensor), want, _SMALL * self.top)
            worst = max(worst, relative)
            if relative > self.runs.tolerance:
                bad.append((number, largest, relative, text))
        first = self.first_of(bad)
        return (None, worst) if first is None else ((step.values[first[0]], *first[1:]), worst)

    def first_of(self, bad: list[tuple]) -> tuple | None:
        """The first on any rank: a value that each holds whole may be wrong on one."""
        found = [b for b in gathered(bad[:1]) if b]
        if not found or isinstance(found[0][0][0], str):
            return found[0][0] if found else None
        return min((b[0] for b in found), key=lambda b: b[0])

    def in_forward(self, value: Value, largest: float, relative: float, text: str) -> Difference:
        """The op of that call that is wrong first: its modules inside are right."""
        module = str(value.call)
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
        module = str(v.call)
        text = f"[{v.op}] in {module}: its result {why}, and the gradient of {path} {text}"
        return Difference("backward", module, v.op, v.operands, v.variables or (path,), largest, relative, text)

    def first_op(self, backward: bool, **asked: Any) -> tuple | None:
        """The first op that gives for its sharded operands what it does not give for the full ones. Without one, and
        where both steps ran the same ops, the first whose result is not the plain step's: its operands are wrong."""
        self.runs.tell("looking for the op")
        plain, _ = together(lambda: self.runs.plain_step(**asked))
        sharded = Step(self.runs.sharded_model(), **asked)
        if self.runs.attempt(sharded, backward=backward) is not None:
            return None
        found, _ = self.first_wrong(sharded, lambda v: v.alone)
        if found is None and all(gathered(plain.ran == sharded.ran)):
            results = {(v.call, v.key): v.tensor for v in plain.values}
            found, _ = self.first_wrong(sharded, lambda v: results.get((v.call, v.key)))
        return found
