"""Runs an op on the parts that its rule allows, and compares with the op on the whole (weft.check_rule)."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from .rule_parts import COMBINE, combine, cut, difference, join, parts_of
from .strings import shown

Place = tuple[int, int]  # of a tensor: argument, and element of a list or -1


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
        self.name, self.parts = name, tuple(parts)
        self.op = find_op(name)
        self.schema = self.op._schema.arguments
        self.args = self.complete(args, kwargs)
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        self.checks = 0
        self.generator = torch.Generator().manual_seed(0)
        self.whole = self.run_op(self.args)
        packed = tuple(tuple(a) if isinstance(a, (list, tuple)) and not a else a for a in self.args)
        self.bound = json.loads(torch.ops.weft._bind_rule(name, text or "", packed, tuple(self.whole)))
        self.text = self.bound["text"]
        self.places: list[Place] = [tuple(p) for p in self.bound["places"]]
        self.factors = self.bound["factors"]
        self.writes = any(a.alias_info is not None and a.alias_info.is_write for a in self.schema)

    def run(self) -> RuleCheck:
        self.check_meta()
        for number, factor in enumerate(self.factors):
            found = len(self.problems)
            for lengths in self.cuts(factor):
                if len(self.problems) == found:  # once is enough
                    self.check_split(number, lengths)
        for group in self.bound["pending"]:
            for reduction in ("sum", "avg", "max", "min") if group["carry"] else ("sum", "avg"):
                self.check_pending(group["tensors"], reduction)
        unique = tuple(dict.fromkeys(self.problems))
        return RuleCheck(self.name, self.text, self.checks, unique, tuple(dict.fromkeys(self.unchecked)))

    # ---- the op ----------------------------------------------------------------------------------------------------

    def complete(self, args: Sequence, kwargs: Mapping[str, Any]) -> list:
        """All arguments in the schema's order, defaults filled in; tensors detached."""
        if len(args) > len(self.schema):
            raise ValueError(f"{self.name} takes {len(self.schema)} arguments, {len(args)} are given")
        unknown = set(kwargs) - {a.name for a in self.schema}
        if unknown:
            raise ValueError(f"{self.name} has no argument {', '.join(sorted(unknown))}")
        out = []
        for i, a in enumerate(self.schema):
            if i < len(args):
                value = args[i]
            elif a.name in kwargs:
                value = kwargs[a.name]
            elif a.has_default_value():
                value = a.default_value
            else:
                raise ValueError(f"{self.name}: argument {a.name} is missing")
            if str(a.type) == "Tensor" and not isinstance(value, torch.Tensor):
                value = torch.as_tensor(value)
            out.append(each(value, torch.Tensor.detach))
        return out

    def run_op(self, args: Sequence) -> list:
        """The op's results; of one that returns nothing, what it wrote. The arguments stay as they are."""
        write = [a.alias_info is not None and a.alias_info.is_write for a in self.schema]
        args = [each(a, torch.Tensor.clone) if w else a for a, w in zip(args, write, strict=True)]
        n = sum(not a.kwarg_only for a in self.schema)
        keywords = {a.name: v for a, v in zip(self.schema[n:], args[n:], strict=True)}
        out = self.op(*args[:n], **keywords)
        if not self.op._schema.returns:
            return [a for a, w in zip(args, write, strict=True) if w]
        return [out] if len(self.op._schema.returns) == 1 else list(out)

    def at(self, args: Sequence, place: Place) -> Any:
        return args[place[0]] if place[1] < 0 else args[place[0]][place[1]]

    def replaced(self, args: Sequence, values: Mapping[int, torch.Tensor]) -> list:
        """The arguments with other tensors, by number."""
        out = [list(a) if isinstance(a, (list, tuple)) else a for a in args]
        for tensor, value in values.items():
            argument, element = self.places[tensor]
            if element < 0:
                out[argument] = value
            else:
                out[argument][element] = value
        return out

    def operand(self, tensor: int) -> str:
        argument, element = self.places[tensor]
        return f"operand {tensor} ({self.schema[argument].name}{'' if element < 0 else f'[{element}]'})"

    # ---- the checks ------------------------------------------------------------------------------------------------

    def check_meta(self) -> None:
        """Weft learns the shapes of results from the meta kernel."""
        if not self.op._schema.returns:
            return
        try:
            meta = leaves(self.run_op([each(a, lambda t: t.to("meta")) for a in self.args]))
        except Exception as e:
            first = str(e).splitlines()[0]
            self.problems.append(f"no meta kernel (torch.library.register_fake), so the op is gathered: {first}")
            return
        for r, (m, w) in enumerate(zip(meta, leaves(self.whole), strict=True)):
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
        if size < 2 or factor["masked"] or self.bound["replaced"]:
            self.unchecked.append(f"factor {name}: " + ("of length 1" if size < 2 else "its arguments are re-made"))
            return
        uneven = next((n for n in range(2, size) if size % n), None)
        for n in dict.fromkeys([*self.parts, *([] if uneven is None or factor["even"] else [uneven])]):
            step = -(-size // n)
            lengths = [max(0, min(step, size - step * p)) for p in range(n)]
            largest = factor["contracted"] and factor["reduction"] in ("max", "min")
            if factor["even"] and size % n or (self.bound["nonempty"] or largest) and 0 in lengths:
                continue
            yield lengths

    def check_split(self, f: int, lengths: list[int]) -> None:
        factor = self.factors[f]
        label = f"splitting {factor['name']} of length {factor['size']} into {lengths}"
        held = [t for t, b in enumerate(self.bound["tensors"]) if b["ruled"] and where(b, f) is not None]
        results = self.bound["results"]
        lost = [r for r in results if where(r, f) is None and not factor["reduction"] and not factor["free"]]
        if lost or not held:
            return  # no such split is taken
        self.checks += 1

        def run(args: Sequence) -> list[torch.Tensor]:
            outs = []
            for p in range(len(lengths)):
                try:
                    outs.append(leaves(self.run_op(self.part(args, f, lengths, p))))
                except Exception as e:
                    raise Failed(f"{label}: part {p} of {self.cut_text(f, held)}: {first_line(e)}") from e
            return [self.made_of(f, r, lengths, [o[r] for o in outs]) for r in range(len(results))]

        def blame(r: int, got: torch.Tensor, want: torch.Tensor) -> str:
            text = f"{label} (of {self.cut_text(f, held)}): result {r} {difference(got, want)}"
            if where(results[r], f) is None:
                return text + self.fitting_reduction(f, r, lengths)
            guilty = [self.operand(t) for t in held if self.reaches(f, t, r, lengths)]
            return text + (f"; it needs more than its part of {', '.join(guilty)}" if guilty else "")

        smooth = factor["reduction"] in ("", "sum", "norm2") and not factor["free"]
        self.compare(run, self.args, self.whole, blame, label, smooth)

    def check_pending(self, group: list[int], reduction: str) -> None:
        tensors = [self.at(self.args, self.places[t]) for t in group]
        if not self.may_be_pending(tensors, reduction):
            return
        once = [t for t, b in enumerate(self.bound["tensors"]) if b["added_once"] and t not in group]
        once = [t for t in once if isinstance(self.at(self.args, self.places[t]), torch.Tensor)]
        names = " and ".join(self.operand(t) for t in group)
        self.checks += 1
        found = len(self.problems)
        for n in self.parts:
            if len(self.problems) > found:
                return
            cut_up = {t: parts_of(self.at(self.args, self.places[t]), n, reduction, self.generator) for t in group}
            cut_up |= {t: parts_of(self.at(self.args, self.places[t]), n, reduction, self.generator) for t in once}
            whole = self.replaced(self.args, {t: combine(reduction, p) for t, p in cut_up.items()})
            label = f"{names} as {n} parts of a pending {reduction}"

            def run(args: Sequence, n: int = n, cut_up: dict = cut_up) -> list[torch.Tensor]:
                outs = []
                for p in range(n):
                    # Differentiable in the whole: each part is it plus a constant.
                    values = {}
                    for t, ps in cut_up.items():
                        x = self.at(args, self.places[t])
                        values[t] = (
                            ps[p] + (x - x.detach()) / (n if reduction == "sum" else 1) if x.requires_grad else ps[p]
                        )
                    outs.append(leaves(self.run_op(self.replaced(args, values))))
                return [combine(reduction, [o[r] for o in outs]) for r in range(len(outs[0]))]

            def blame(r: int, got: torch.Tensor, want: torch.Tensor, label: str = label) -> str:
                kind = "linear in" if reduction in ("sum", "avg") else "passing on the values of"
                return f"{label}: result {r} {difference(got, want)}; the op is not {kind} {names}"

            self.compare(run, whole, self.run_op(whole), blame, label, reduction in ("sum", "avg"))

    def may_be_pending(self, tensors: list, reduction: str) -> bool:
        """As the planner sees it: fractions and whole numbers do not mix, nor is a sum rounded further."""
        if any(not isinstance(t, torch.Tensor) or t.dtype == torch.bool for t in tensors):
            return False
        if reduction in ("max", "min"):
            return not any(t.is_complex() for t in tensors)
        for t in tensors:
            for r in leaves(self.whole):
                fraction = t.is_floating_point() or t.is_complex()
                if fraction != (r.is_floating_point() or r.is_complex()) or not fraction and r.dtype != t.dtype:
                    return False
            if reduction == "avg" and not (t.is_floating_point() or t.is_complex()):
                return False
        return True

    def compare(
        self, run: Callable, args: Sequence, whole: list, blame: Callable, label: str, differentiable: bool
    ) -> None:
        """Values, then gradients of the same random heads."""
        try:
            got, want = run(args), leaves(whole)
            wrong = [blame(r, g, w) for r, (g, w) in enumerate(zip(got, want, strict=True)) if difference(g, w)]
            self.problems += wrong
            if wrong or self.writes or not differentiable:
                return
            sources = [t for t, p in enumerate(self.places) if is_fraction(self.at(args, p))]
            expected = self.gradients(lambda a: leaves(self.run_op(a)), args, sources)
            if expected is None:
                return
            found = self.gradients(run, args, sources)
            if found is None:
                raise Failed(f"{label}: the results of the parts have no gradient")
            for t, g, w in zip(sources, found, expected, strict=True):
                if difference(g, w):
                    self.problems.append(f"{label}: the gradient of {self.operand(t)} {difference(g, w)}")
        except Failed as e:
            self.problems.append(str(e))

    def gradients(self, run: Callable, args: Sequence, sources: list[int]) -> list | None:
        """Of each source; None where the op has none."""
        inputs = {t: self.at(args, self.places[t]).detach().clone().requires_grad_() for t in sources}
        if not inputs:
            return None
        results = [r for r in run(self.replaced(args, inputs)) if r.requires_grad]
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

    # ---- parts -----------------------------------------------------------------------------------------------------

    def part(self, args: Sequence, f: int, lengths: list[int], p: int) -> list:
        """The arguments of part `p`."""
        begin, values = sum(lengths[:p]), {}
        for t, b in enumerate(self.bound["tensors"]):
            x = self.at(args, self.places[t])
            if not isinstance(x, torch.Tensor) or not b["ruled"]:
                continue
            d = where(b, f)
            if d is not None:
                values[t] = cut(x, d, b["dims"][d].index(f), self.sizes(b, d), begin, lengths[p])
            elif b["added_once"] and self.factors[f]["reduction"] == "sum":
                generator = torch.Generator().manual_seed(t)
                values[t] = parts_of(x, len(lengths), "sum", generator)[p] + (x - x.detach()) / len(lengths)
        out = self.replaced(args, values)
        for length in self.bound["lengths"]:
            sizes = [lengths[p] if g == f else self.factors[g]["size"] for g in length["factors"]]
            if length["entry"] < 0:
                out[length["argument"]] = math.prod(sizes)
            elif isinstance(out[length["argument"]], list):
                out[length["argument"]][length["entry"]] = math.prod(sizes)
        return out

    def made_of(self, f: int, r: int, lengths: list[int], parts: list[torch.Tensor]) -> torch.Tensor:
        """What the rule makes of a result's parts."""
        bound = self.bound["results"][r]
        d = where(bound, f)
        if d is None:
            reduction = self.factors[f]["reduction"]
            return combine(reduction, parts) if reduction else parts[-1]
        sizes = self.sizes(bound, d)
        whole = list(leaves(self.whole)[r].shape)
        for p, part in enumerate(parts):
            expected = [*whole[:d], whole[d] // self.factors[f]["size"] * lengths[p], *whole[d + 1 :]]
            if list(part.shape) != expected:
                name = self.factors[f]["name"]
                raise Failed(f"splitting {name} into {lengths}: part {p} of result {r} has shape {list(part.shape)}, "
                             f"the rule says {expected}")  # fmt: skip
        return join(parts, d, bound["dims"][d].index(f), sizes, lengths)

    def sizes(self, bound: dict, d: int) -> list[int]:
        return [self.factors[g]["size"] for g in bound["dims"][d]]

    def cut_text(self, f: int, held: list[int]) -> str:
        tensors = self.bound["tensors"]
        return ", ".join(f"dimension {where(tensors[t], f)} of {self.operand(t)}" for t in held)

    # ---- what is wrong ---------------------------------------------------------------------------------------------

    def fitting_reduction(self, f: int, r: int, lengths: list[int]) -> str:
        parts = [leaves(self.run_op(self.part(self.args, f, lengths, p)))[r] for p in range(len(lengths))]
        want = leaves(self.whole)[r]
        fits = [name for name in COMBINE if not difference(combine(name, parts), want)]
        name = self.factors[f]["name"]
        if fits:
            return f"; its parts combine by {fits[0]}"
        return f"; its parts combine by none of {', '.join(COMBINE)}: say whole {name}"

    def reaches(self, f: int, t: int, r: int, lengths: list[int]) -> bool:
        """Whether the first or the last part of a result changes with other parts of an operand."""
        bound, result = self.bound["tensors"][t], self.bound["results"][r]
        d, e = where(bound, f), where(result, f)
        assert d is not None and e is not None  # both hold the factor
        x = self.at(self.args, self.places[t])
        other = x.flatten()[torch.randperm(x.numel(), generator=self.generator)].view(x.shape)
        k, sizes = bound["dims"][d].index(f), self.sizes(bound, d)
        spans = [(sum(lengths[:p]), n) for p, n in enumerate(lengths)]
        for own in (spans[0], spans[-1]):
            pieces = [cut(x if span == own else other, d, k, sizes, *span) for span in spans]
            mixed = join(pieces, d, k, sizes, lengths)
            place = (e, result["dims"][e].index(f), self.sizes(result, e), *own)
            changed = cut(leaves(self.run_op(self.replaced(self.args, {t: mixed})))[r], *place)
            if difference(changed, cut(leaves(self.whole)[r], *place)):
                return True
        return False


class Failed(Exception):
    pass


def where(bound: dict, f: int) -> int | None:
    """The dimension that holds a factor."""
    return next((d for d, dim in enumerate(bound["dims"]) if f in dim), None)


def each(value: Any, f: Callable) -> Any:
    """`f` of a tensor, or of each of a list."""
    if isinstance(value, torch.Tensor):
        return f(value)
    if isinstance(value, (list, tuple)):
        return [f(v) if isinstance(v, torch.Tensor) else v for v in value]
    return value


def leaves(results: Sequence) -> list[torch.Tensor]:
    out: list[torch.Tensor] = []
    for r in results:
        out += r if isinstance(r, (list, tuple)) else [r]
    return out


def is_fraction(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and (x.is_floating_point() or x.is_complex())


def first_line(e: Exception) -> str:
    lines = str(e).strip().splitlines()
    return f"{type(e).__name__}: {lines[0] if lines else ''}"


def find_op(name: str) -> torch._ops.OpOverload:
    space, _, rest = name.rpartition("::")
    base, _, overload = rest.partition(".")
    torch.ops.weft._bind_rule  # noqa: B018  the library is there
    packet = getattr(getattr(torch.ops, space or "aten"), base, None)
    found = getattr(packet, overload or "default", None)
    if found is None:
        raise ValueError(f"no op {shown(name)} is registered" + (f"; there are {packet.overloads()}" if packet else ""))
    return found
