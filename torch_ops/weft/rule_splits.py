"""The parts that a rule makes of an op's arguments, and what it makes of the results of the parts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import torch

from .rule_op import OpCall, leaves
from .rule_parts import combine, cut, join, parts_of


class Failed(Exception):
    pass


class BoundRule:
    """A rule bound to a call: its factors, and which dimension of which tensor holds which. `whole`: what the op gives.

    Raises:
        ValueError: the text does not fit the op, or the arguments do not fit the rule.
    """

    def __init__(self, call: OpCall, text: str | None, full: list) -> None:
        self.call, self.full = call, full
        packed = tuple(tuple(a) if isinstance(a, (list, tuple)) and not a else a for a in call.args)
        told = json.loads(torch.ops.weft._bind_rule(call.name, text or "", packed, tuple(full)))
        call.places = [tuple(p) for p in told["places"]]
        self.text: str = told["text"]
        self.factors: list[dict] = told["factors"]
        self.tensors: list[dict] = told["tensors"]
        self.results: list[dict] = told["results"]
        self.pending: list[dict] = told["pending"]
        self.lengths: list[dict] = told["lengths"]
        self.replaced: bool = told["replaced"]
        self.supports_empty_shards: bool = told["supports_empty_shards"]

    def part(self, args: Sequence, f: int, lengths: list[int], p: int) -> list:
        """The arguments of part `p`."""
        begin, values = sum(lengths[:p]), {}
        for t, b in enumerate(self.tensors):
            x = self.call.at(args, t)
            if not isinstance(x, torch.Tensor) or not b["ruled"]:
                continue
            d = where(b, f)
            if d is not None:
                values[t] = cut(x, d, b["dims"][d].index(f), self.sizes(b, d), begin, lengths[p])
            elif b["added_once"] and self.factors[f]["reduction"] == "sum":
                generator = torch.Generator().manual_seed(t)
                values[t] = parts_of(x, len(lengths), "sum", generator)[p] + (x - x.detach()) / len(lengths)
        out = self.call.replaced(args, values)
        for length in self.lengths:
            sizes = [lengths[p] if g == f else self.factors[g]["size"] for g in length["factors"]]
            if length["entry"] < 0:
                out[length["argument"]] = math.prod(sizes)
            elif isinstance(out[length["argument"]], list):
                out[length["argument"]][length["entry"]] = math.prod(sizes)
        return out

    def made_of(self, f: int, r: int, lengths: list[int], parts: list[torch.Tensor]) -> torch.Tensor:
        """What the rule makes of a result's parts."""
        bound = self.results[r]
        d = where(bound, f)
        if d is None:
            reduction = self.factors[f]["reduction"]
            return combine(reduction, parts) if reduction else parts[-1]
        sizes = self.sizes(bound, d)
        full = list(leaves(self.full)[r].shape)
        for p, part in enumerate(parts):
            expected = [*full[:d], full[d] // self.factors[f]["size"] * lengths[p], *full[d + 1 :]]
            if list(part.shape) != expected:
                name = self.factors[f]["name"]
                raise Failed(f"splitting {name} into {lengths}: part {p} of result {r} has shape {list(part.shape)}, "
                             f"the rule says {expected}")  # fmt: skip
        return join(parts, d, bound["dims"][d].index(f), sizes, lengths)

    def sizes(self, bound: dict, d: int) -> list[int]:
        return [self.factors[g]["size"] for g in bound["dims"][d]]

    def cut_text(self, f: int, held: list[int]) -> str:
        tensors = self.tensors
        return ", ".join(f"dimension {where(tensors[t], f)} of {self.call.operand(t)}" for t in held)


def where(bound: dict, f: int) -> int | None:
    """The dimension that holds a factor."""
    return next((d for d, dim in enumerate(bound["dims"]) if f in dim), None)
