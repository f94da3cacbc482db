"""The plain and the sharded step of a model, as often as weft.check asks for them."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import torch

from .check_ranks import gathered, together
from .check_report import Difference
from .check_steps import Step
from .check_values import alike, apart, part_of, summary, variables
from .layout_map import LayoutMap
from .module import distribute_module
from .process import rank
from .slots import holds_scripted
from .strings import shown
from .switches import random_mode
from .tensors import is_sharded, local_tensor, map_tensors, shard_batch
from .tracing import trace

_QUIET = 2.0  # seconds before a terminal is told what is being done


class Runs:
    """Takes the arguments of `weft.check`, and raises its errors.

    `facts`: the plain step in numbers, once the ranks have compared them. `moved`: the collectives of
    the last sharded step.
    """

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
        self.batch = together(lambda: map_tensors(batch, self.cast))
        self.dtype_of_model: torch.dtype | None = None
        self.facts: list = []
        self.begin = self.told = time.monotonic()

    def validate(self) -> None:
        if isinstance(self.model_fn, torch.nn.Module) or not callable(self.model_fn):
            raise ValueError(
                "[W038] check: pass a function that makes the model, such as `lambda: Net()`: two are needed"
            )
        if not isinstance(self.layouts, LayoutMap) and not callable(self.layouts):
            raise ValueError(
                f"[W038] check: layouts must be a LayoutMap or a function of the model, not {shown(self.layouts)}"
            )
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"[W039] check: tolerance must be above 0, not {shown(self.tolerance)}")

    def cast(self, t: torch.Tensor) -> torch.Tensor:
        if is_sharded(t):
            raise ValueError("[W035] check: the batch must be plain; batch_axis says over which axes it is split")
        return t.to(self.dtype) if self.dtype is not None and t.is_floating_point() else t

    def model(self) -> torch.nn.Module:
        torch.manual_seed(self.seed)
        model = self.model_fn()
        if not isinstance(model, torch.nn.Module):
            raise ValueError(f"[W038] check: model_fn must give a torch.nn.Module, not {type(model).__name__}")
        if holds_scripted(model):
            raise ValueError("[W038] check: the model is scripted, and its modules take no hooks: check the plain one")
        meta = [n for n, p in model.named_parameters() if p.is_meta]
        if meta:
            raise ValueError(f"[W054] check: {meta[0]} is on the meta device; the plain step needs values")
        return model.to(self.dtype) if self.dtype is not None else model

    def map_for(self, model: torch.nn.Module) -> LayoutMap:
        layouts = self.layouts if isinstance(self.layouts, LayoutMap) else self.layouts(model)
        if not isinstance(layouts, LayoutMap):
            raise ValueError(f"[W038] check: layouts(model) must give a LayoutMap, not {type(layouts).__name__}")
        return layouts

    def plain_step(self, **asked: Any) -> tuple[Step, list]:
        """The plain step, and what it gave, in a few numbers each, for the other ranks."""
        self.tell("the plain step")
        step = Step(self.model(), **asked)
        facts = [("variable", path, summary(t)) for path, t in variables(step.model).items()]
        torch.manual_seed(self.seed)
        step.run(self.batch, self.loss)
        if not step.values:
            raise ValueError(
                "[W038] check: no module of the model gives a tensor (a generator, …): nothing can be compared"
            )
        facts += [("output", str(v.call), summary(v.tensor)) for v in step.values]
        return step, facts

    def sharded_model(self, plain: Step | None = None) -> torch.nn.Module:
        self.tell("the sharded step")

        def build() -> tuple[torch.nn.Module, LayoutMap]:
            model = self.model()
            if plain is not None:
                before = {path: numbers for kind, path, numbers in self.facts if kind == "variable"}
                other = [n for n, t in variables(model).items() if not alike(summary(t), before.get(n, []), 1e-6)]
                if other:
                    raise ValueError(
                        f"[W150] check: model_fn gives {other[0]} another value when it is called again: it must "
                        "depend on torch's random state alone"
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
        wrong = self.first_wrong_part(plain, step) if plain is not None else None
        found = min(gathered((raised[0][0] if wrong is None else wrong, wrong is None)))
        module = str(step.calls[found[0]]) if found[0] < len(step.calls) else ""
        text = f"the sharded step raised on rank {raised[0][1]} what the plain one does not: {raised[0][2]}"
        if not found[1]:
            text = f"the output of {module} is not as plain on every rank; {text}"
        return Difference("error", module, "", "", (), float("nan"), float("nan"), text)

    def first_wrong_part(self, plain: Step, sharded: Step) -> int | None:
        """The first call of which this rank has a wrong part; what is pending nobody has."""
        for want, got in zip(plain.values, sharded.values, strict=False):
            if (want.call, want.key) != (got.call, got.key):
                break
            part = part_of(want.tensor, got.tensor)
            if (
                part is not None
                and apart(local_tensor(got.tensor), part, float(want.tensor.abs().max()))[1] > self.tolerance
            ):
                return sharded.calls.index(got.call)
        return None

    def tell(self, what: str) -> None:
        """Tells a terminal what is going on, where it takes long."""
        now = time.monotonic()
        if now - self.begin > _QUIET and now - self.told > 1 and rank() == 0 and sys.stderr.isatty():
            self.told = now
            print(f"weft.check: {now - self.begin:.0f} s, {what}", file=sys.stderr)
