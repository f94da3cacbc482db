"""Runs an op on the parts that its rule allows, and compares with the op on the full tensors (weft.check_rule)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from .rule_op import OpCall, each, is_fraction, leaves
from .rule_parts import COMBINE, combine, cut, difference, join, parts_of
from .rule_splits import BoundRule, Failed, where


@dataclasses.dataclass(frozen=True)
class RuleCheck:
    """What `check_rule` found. True where nothing is wrong; prints as one line for each finding."""

    op: str
    text: str
    checks: int  # splits and pending sums that were tried
    problems: tuple[str, ...]  # what the rule says and the op does not do
    unchecked: tuple[str, ...]  # what these arguments could not show

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = f'{self.op}: "{self.text}": {self.checks} checks, {len(self.problems)} problems'
        return "\n".join([head, *self.problems, *(f"not checked: {u}" for u in self.unchecked)])


class Checker:
    def __init__(self, name: str, text: str | None, args: Sequence, kwargs: Mapping[str, Any], parts: Sequence) -> None:
        self.parts = tuple(parts)
        self.call = OpCall(name, args, kwargs)
        self.full = self.call.run(self.call.args)
        self.bound = BoundRule(self.call, text, self.full)
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        self.checks = 0
        self.generator = torch.Generator().manual_seed(0)

    def run(self) -> RuleCheck:
        self.check_meta()
        for number, factor in enumerate(self.bound.factors):
            found = len(self.problems)
            for lengths in self.cuts(factor):
                if len(self.problems) == found:  # once is enough
                    self.check_split(number, lengths)
        for group in self.bound.pending:
            for reduction in ("sum", "avg", "max", "min") if group["carry"] else ("sum", "avg"):
                self.check_pending(group["tensors"], reduction)
        unique = tuple(dict.fromkeys(self.problems))
        return RuleCheck(self.call.name, self.bound.text, self.checks, unique, tuple(dict.fromkeys(self.unchecked)))

    def check_meta(self) -> None:
        """Weft learns the shapes of results from the meta kernel."""
        if not self.call.op._schema.returns:
            return
        try:
            meta = leaves(self.call.run([each(a, lambda t: t.to("meta")) for a in self.call.args]))
        except Exception as e:
            first = str(e).splitlines()[0]
            self.problems.append(f"no meta kernel (torch.library.register_fake), so the op is gathered: {first}")
            return
        for r, (m, w) in enumerate(zip(meta, leaves(self.full), strict=True)):
            strides = [(a, b) for a, b, n in zip(m.stride(), w.stride(), w.shape, strict=False) if n > 1]
            if m.shape != w.shape or m.dtype != w.dtype or any(a != b for a, b in strides):
                self.problems.append(
                    f"the meta kernel gives {m.dtype} {tuple(m.shape)} with strides {m.stride()} for result {r}, "
                    f"the op {w.dtype} {tuple(w.shape)} with {w.stride()}"
                )

    def cuts(self, factor: dict) -> Iterator[list[int]]:
        """Lengths of the parts to cut a factor into, by torch.chunk's rule."""
        size, name = factor["size"], factor["name"]
        if not factor["splittable"]:
            return
        if size < 2 or factor["masked"] or self.bound.replaced:
            self.unchecked.append(f"factor {name}: " + ("of length 1" if size < 2 else "its arguments are re-made"))
            return
        uneven = next((n for n in range(2, size) if size % n), None)
        for n in dict.fromkeys([*self.parts, *([] if uneven is None or factor["even"] else [uneven])]):
            step = -(-size // n)
            lengths = [max(0, min(step, size - step * p)) for p in range(n)]
            largest = factor["contracted"] and factor["reduction"] in ("max", "min")
            if factor["even"] and size % n or (not self.bound.supports_empty_shards or largest) and 0 in lengths:
                continue
            yield lengths

    def check_split(self, f: int, lengths: list[int]) -> None:
        factor = self.bound.factors[f]
        label = f"splitting {factor['name']} of length {factor['size']} into {lengths}"
        held = [t for t, b in enumerate(self.bound.tensors) if b["ruled"] and where(b, f) is not None]
        results = self.bound.results
        lost = [r for r in results if where(r, f) is None and not factor["reduction"] and not factor["free"]]
        if lost or not held:
            return  # no such split is taken
        self.checks += 1

        def run(args: Sequence) -> list[torch.Tensor]:
            outs = []
            for p in range(len(lengths)):
                try:
                    outs.append(leaves(self.call.run(self.bound.part(args, f, lengths, p))))
                except Exception as e:
                    raise Failed(f"{label}: part {p} of {self.bound.cut_text(f, held)}: {first_line(e)}") from e
            return [self.bound.made_of(f, r, lengths, [o[r] for o in outs]) for r in range(len(results))]

        def blame(r: int, got: torch.Tensor, want: torch.Tensor) -> str:
            text = f"{label} (of {self.bound.cut_text(f, held)}): result {r} {difference(got, want)}"
            if where(results[r], f) is None:
                return text + self.fitting_reduction(f, r, lengths)
            guilty = [self.call.operand(t) for t in held if self.reaches(f, t, r, lengths)]
            return text + (f"; it needs more than its part of {', '.join(guilty)}" if guilty else "")

        smooth = factor["reduction"] in ("", "sum", "norm2") and not factor["free"]
        self.compare(run, self.call.args, self.full, blame, label, smooth)

    def check_pending(self, group: list[int], reduction: str) -> None:
        tensors = [self.call.at(self.call.args, t) for t in group]
        if not self.may_be_pending(tensors, reduction):
            return
        once = [t for t, b in enumerate(self.bound.tensors) if b["added_once"] and t not in group]
        once = [t for t in once if isinstance(self.call.at(self.call.args, t), torch.Tensor)]
        names = " and ".join(self.call.operand(t) for t in group)
        self.checks += 1
        found = len(self.problems)
        for n in self.parts:
            if len(self.problems) > found:
                return
            cut_up = {t: parts_of(self.call.at(self.call.args, t), n, reduction, self.generator) for t in group}
            cut_up |= {t: parts_of(self.call.at(self.call.args, t), n, reduction, self.generator) for t in once}
            full = self.call.replaced(self.call.args, {t: combine(reduction, p) for t, p in cut_up.items()})
            label = f"{names} as {n} parts of a pending {reduction}"

            def run(args: Sequence, n: int = n, cut_up: dict = cut_up) -> list[torch.Tensor]:
                outs = []
                for p in range(n):
                    # Differentiable in the full tensor: each part is it plus a constant.
                    values = {}
                    for t, ps in cut_up.items():
                        x = self.call.at(args, t)
                        values[t] = (
                            ps[p] + (x - x.detach()) / (n if reduction == "sum" else 1) if x.requires_grad else ps[p]
                        )
                    outs.append(leaves(self.call.run(self.call.replaced(args, values))))
                return [combine(reduction, [o[r] for o in outs]) for r in range(len(outs[0]))]

            def blame(r: int, got: torch.Tensor, want: torch.Tensor, label: str = label) -> str:
                kind = "linear in" if reduction in ("sum", "avg") else "passing on the values of"
                return f"{label}: result {r} {difference(got, want)}; the op is not {kind} {names}"

            self.compare(run, full, self.call.run(full), blame, label, reduction in ("sum", "avg"))

    def may_be_pending(self, tensors: list, reduction: str) -> bool:
        """Whether the planner leaves them pending: fractions and integers do not mix, nor is a sum rounded further."""
        if any(not isinstance(t, torch.Tensor) or t.dtype == torch.bool for t in tensors):
            return False
        if reduction in ("max", "min"):
            return not any(t.is_complex() for t in tensors)
        for t in tensors:
            for r in leaves(self.full):
                fraction = t.is_floating_point() or t.is_complex()
                if fraction != (r.is_floating_point() or r.is_complex()) or not fraction and r.dtype != t.dtype:
                    return False
            if reduction == "avg" and not (t.is_floating_point() or t.is_complex()):
                return False
        return True

    def compare(
        self, run: Callable, args: Sequence, full: list, blame: Callable, label: str, differentiable: bool
    ) -> None:
        """Values, then gradients of the same random heads."""
        try:
            got, want = run(args), leaves(full)
            wrong = [blame(r, g, w) for r, (g, w) in enumerate(zip(got, want, strict=True)) if difference(g, w)]
            self.problems += wrong
            if wrong or self.call.writes or not differentiable:
                return
            sources = [t for t in range(len(self.call.places)) if is_fraction(self.call.at(args, t))]
            expected = self.gradients(lambda a: leaves(self.call.run(a)), args, sources)
            if expected is None:
                return
            found = self.gradients(run, args, sources)
            if found is None:
                raise Failed(f"{label}: the results of the parts have no gradient")
            for t, g, w in zip(sources, found, expected, strict=True):
                if difference(g, w):
                    self.problems.append(f"{label}: the gradient of {self.call.operand(t)} {difference(g, w)}")
        except Failed as e:
            self.problems.append(str(e))

    def gradients(self, run: Callable, args: Sequence, sources: list[int]) -> list | None:
        """The gradient of each source; None where the op has no backward."""
        inputs = {t: self.call.at(args, t).detach().clone().requires_grad_() for t in sources}
        if not inputs:
            return None
        results = [r for r in run(self.call.replaced(args, inputs)) if r.requires_grad]
        heads = [torch.randn(r.shape, generator=torch.Generator().manual_seed(1)).to(r) for r in results]
        if not results:
            return None
        try:
            with warnings.catch_warnings():  # of ops without an autograd kernel
                warnings.simplefilter("ignore")
                found = torch.autograd.grad(results, list(inputs.values()), heads, allow_unused=True)
        except (RuntimeError, NotImplementedError):
            return None
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs.values(), strict=True)]

    # ---- what is wrong ---------------------------------------------------------------------------------------------

    def fitting_reduction(self, f: int, r: int, lengths: list[int]) -> str:
        parts = [leaves(self.call.run(self.bound.part(self.call.args, f, lengths, p)))[r] for p in range(len(lengths))]
        want = leaves(self.full)[r]
        fits = [name for name in COMBINE if not difference(combine(name, parts), want)]
        name = self.bound.factors[f]["name"]
        if fits:
            return f"; its parts combine by {fits[0]}"
        return f"; its parts combine by none of {', '.join(COMBINE)}: say whole {name}"

    def reaches(self, f: int, t: int, r: int, lengths: list[int]) -> bool:
        """Whether the first or the last part of a result changes with other parts of an operand."""
        bound, result = self.bound.tensors[t], self.bound.results[r]
        d, e = where(bound, f), where(result, f)
        assert d is not None and e is not None  # both hold the factor
        x = self.call.at(self.call.args, t)
        other = x.flatten()[torch.randperm(x.numel(), generator=self.generator)].view(x.shape)
        k, sizes = bound["dims"][d].index(f), self.bound.sizes(bound, d)
        spans = [(sum(lengths[:p]), n) for p, n in enumerate(lengths)]
        for own in (spans[0], spans[-1]):
            pieces = [cut(x if span == own else other, d, k, sizes, *span) for span in spans]
            mixed = join(pieces, d, k, sizes, lengths)
            place = (e, result["dims"][e].index(f), self.bound.sizes(result, e), *own)
            changed = cut(leaves(self.call.run(self.call.replaced(self.call.args, {t: mixed})))[r], *place)
            if difference(changed, cut(leaves(self.full)[r], *place)):
                return True
        return False


def first_line(e: Exception) -> str:
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0] if lines else ''}"
