"""Pairs of linear layers, found by where they stand in the modules and by their sizes; names play no part.

A *group* is what Megatron splits as one: columns, whose outputs are split, feed rows, whose inputs are split, with
nothing between that needs the whole. It is looked for in the smallest module that holds all of it: a feed-forward's
outputs are as wide as the row's inputs; an attention's last layer is its row. Modules that hold a list of layers are no
place to pair what is left in them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A matrix of a module that maps `inputs` features to `outputs`."""

    owner: str  # path of the module that has it
    weight: str  # path
    bias: str | None  # path; None: there is none of its own
    inputs: int
    outputs: int
    out_dim: int  # the weight's dimension of outputs; the other two-dimensional one is that of inputs
    in_dim: int

    @property
    def square(self) -> bool:
        return self.inputs == self.outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Columns that feed a row."""

    scope: str  # the smallest module that holds all
    columns: tuple[Linear, ...]
    row: Linear
    attention: bool  # the columns' outputs are heads


class Finder:
    """The groups of a module, and its linear layers."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules())
        self.vocabulary = vocabulary_of(model)
        self.linears: list[Linear] = []
        self.groups: list[Group] = []
        self.paired: set[Linear] = set()
        self.within: dict[str, tuple[int, int]] = {}  # by path, the range of `linears` that the module holds
        for path, m in self.modules.items():
            for x in linears_of(m, path):
                at = len(self.linears)
                self.linears.append(x)
                for holder in holders(path):
                    self.within[holder] = (self.within.get(holder, (at, at))[0], at + 1)
        self.widths = Counter(x.inputs for x in self.linears)
        self.lists = {path for path, m in self.modules.items() if self.is_list_of_layers(path, m)}
        stacks = {holder for path in self.lists for holder in holders(path)}
        for path, m in reversed(self.modules.items()):  # children come before their parents
            self.find_in(path, m, path in stacks)

    def is_list_of_layers(self, path: str, module: nn.Module) -> bool:
        """Whether it is a list of modules that have linear layers inside."""
        if not isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
            return False
        children = (joined(path, name) for name, _ in module.named_children())
        return any(x.owner != child for child in children for x in self.linears[slice(*self.within.get(child, (0, 0)))])

    def find_in(self, path: str, module: nn.Module, stack: bool) -> None:
        if isinstance(module, nn.Sequential):
            self.chains(path, module)
        elif not stack and not isinstance(module, (nn.ModuleList, nn.ModuleDict)) and path in self.within:
            self.low_rank_attention(path)
            self.attention(path)
            self.feed_forward(path)
            self.chains(path, module)
        for group in experts_of(module, path, self.widths):
            self.take(group)

    def pending(self, path: str) -> list[Linear]:
        found = self.linears[slice(*self.within.get(path, (0, 0)))]
        return [x for x in found if x not in self.paired and not self.is_head(x)]

    def is_head(self, x: Linear) -> bool:
        """Whether it gives a number for each word of the vocabulary."""
        table = self.vocabulary
        if table is None or (x.outputs, x.inputs) != tuple(table.shape):
            return False
        tied = getattr(self.modules[x.owner], "weight", None) is table
        return tied or not any(holder in self.lists for holder in holders(x.owner))

    def take(self, group: Group) -> None:
        self.groups.append(group)
        self.paired.update((*group.columns, group.row))

    def attention(self, path: str) -> None:
        """Queries, keys and values, apart or in one matrix, and the layer after them: of square ones the last."""
        for width in dict.fromkeys(x.outputs for x in self.pending(path) if x.square):
            left = self.pending(path)
            members = [x for x in left if x.square and x.outputs == width]
            others = [x for x in left if x not in members and self.may_be_projection(x, left, width)]
            row, *columns = members[-1], *members[:-1], *others
            order = sorted(columns, key=left.index)
            kinds = (len(members), len(others))
            if kinds in ((4, 0), (2, 2), (2, 1), (1, 1)):
                self.take(Group(path, tuple(order), row, True))

    @staticmethod
    def may_be_projection(x: Linear, left: Sequence[Linear], width: int) -> bool:
        """Keys and values of fewer heads or of another input, two alike; or two or three in one matrix."""
        twins = sum((y.inputs, y.outputs) == (x.inputs, x.outputs) for y in left) == 2
        if twins and x.outputs <= width and width % x.outputs == 0:
            return not any((y.inputs, y.outputs) == (x.outputs, x.inputs) for y in left if y is not x and not x.square)
        return not twins and x.inputs == width < x.outputs <= 3 * width and not feeds_back(x, left)

    def feed_forward(self, path: str) -> None:
        """Columns that are as wide as the row's inputs, or twice that where gate and up are one matrix."""
        for row in self.pending(path):
            left = self.pending(path)
            if row.square or row not in left:
                continue
            columns = [x for x in left if x.inputs == row.outputs and x.outputs == row.inputs]
            heads = self.fewer_heads(row, columns, left)
            if len(columns) + len(heads) > 1:
                self.take(Group(path, (*columns, *heads), row, len(columns) + len(heads) > 2))
                continue
            # One alone may be of low rank, where it is narrow, or follow: then it is no feed-forward.
            before = [x for x in left[: left.index(row)] if x.inputs == row.outputs <= row.inputs]
            columns = [x for width in (1, 2) for x in before if x.outputs == width * row.inputs][-1:]
            if columns:
                self.take(Group(path, tuple(columns), row, False))

    @staticmethod
    def fewer_heads(row: Linear, columns: Sequence[Linear], left: Sequence[Linear]) -> list[Linear]:
        """Keys and values beside a single query: two alike, registered next to it, whose size divides its."""
        if len(columns) != 1:
            return []
        at, end = left.index(columns[0]), left.index(row)
        near = [x for x in left[max(0, at - 2) : end] if x is not columns[0] and x.outputs < row.inputs]
        alike = [x for x in near if row.inputs % x.outputs == 0 and x.inputs == near[0].inputs]
        return alike if len(alike) == len(near) == 2 and alike[0].outputs == alike[1].outputs else []

    def low_rank_attention(self, path: str) -> None:
        """Queries, keys and values that come through narrow layers: those after these are as wide as the row's inputs.

        The narrow ones and their norms stay whole, so that each head finds all of what it is made from.
        """
        left = self.pending(path)
        row = next((x for x in reversed(left) if x.outputs == left[0].inputs), None)
        size = head_size([self.modules[path]], row.inputs) if row is not None else None
        if row is None or size is None:
            return
        narrow = [x.outputs for x in left if x.outputs < row.inputs and x.inputs == row.outputs]
        columns = [x for x in left if x is not row and x.outputs >= row.inputs]
        after = [x for x in columns if narrow and x.inputs <= max(narrow)]
        rest = [x for x in columns if x not in after]
        whole_heads = all(x.outputs % (row.inputs // size) == 0 for x in columns)
        if after and len(columns) > 1 and whole_heads and all(x.inputs == row.outputs for x in rest):
            self.take(Group(path, tuple(columns), row, True))

    def chains(self, path: str, module: nn.Module) -> None:
        """Children that follow each other with nothing between that has parameters."""
        children = {x.owner: x for x in self.pending(path) if x.owner.rpartition(".")[0] == path and x.owner != path}
        squares = [x for x in children.values() if x.square]
        before: Linear | None = None
        for name, child in module.named_children():
            x = children.get(f"{path}.{name}" if path else name)
            if x is None:
                before = None if next(child.parameters(), None) is not None else before
                continue
            fits = before is not None and before.outputs == x.inputs
            if fits and not isinstance(module, nn.Sequential) and before in squares and x in squares:
                fits = len(children) == 2
            if before is not None and fits:
                self.take(Group(path, (before,), x, False))
            before = None if fits else x


def feeds_back(x: Linear, left: Sequence[Linear]) -> bool:
    """Whether another layer takes what this one gives: then it is a feed-forward's."""
    return any(y.outputs == x.inputs and x.outputs in (y.inputs, 2 * y.inputs) for y in left if not y.square)


def holders(path: str) -> Iterator[str]:
    """The path and those of the modules around it."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def linears_of(module: nn.Module, path: str) -> Iterator[Linear]:
    """The matrices that are the module's own."""

    own = dict(module.named_parameters(recurse=False))  # one that is made of others is none of them

    def found(name: str, bias: str, turned: bool = False) -> Iterator[Linear]:
        if name in own and own[name].dim() == 2:
            outputs, inputs = own[name].shape[::-1] if turned else own[name].shape
            yield Linear(
                path, joined(path, name), joined(path, bias) if bias in own else None, inputs, outputs, *dims[turned]
            )

    dims = ((0, 1), (1, 0))
    if isinstance(module, nn.MultiheadAttention):
        yield from found("in_proj_weight", "in_proj_bias")
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            yield from found(name, "")
    elif isinstance(module, nn.Linear):
        yield from found("weight", "bias")
    elif type(module).__name__ == "Conv1D":  # of transformers: GPT-2's linear layer, whose weight is [inputs, outputs]
        yield from found("weight", "bias", turned=True)


def experts_of(module: nn.Module, path: str, widths: Counter[int]) -> Iterator[Group]:
    """Experts as stacks of matrices in one parameter, [expert, outputs, inputs] or [expert, inputs, outputs].

    Where their sizes fit both ways, that one holds which gives what more linear layers of the model take, then the one
    that has biases of the outputs' size.
    """
    own = dict(module.named_parameters(recurse=False))
    stacks = [name for name, p in own.items() if p.dim() == 3]
    found = []
    for dims in ((1, 2), (2, 1)):  # of outputs and inputs: as nn.Linear has them first
        for at, name in enumerate(stacks):
            row = stack_of(own, path, name, dims)
            others = [stack_of(own, path, n, dims) for n in stacks if n != name and len(own[n]) == len(own[name])]
            columns = [x for x in others if x.inputs == row.outputs and x.outputs in (row.inputs, 2 * row.inputs)]
            columns = [x for x in columns if not (x.square and row.square)]  # which of them is the row, none tells
            if columns:
                biases = sum(x.bias is not None for x in columns)
                found.append(((-len(columns), -widths[row.outputs], -biases, dims, -at), columns, row))
    taken: set[str] = set()
    for _, columns, row in sorted(found, key=lambda f: f[0]):
        weights = {x.weight for x in (row, *columns)}
        if not weights & taken:
            taken |= weights
            yield Group(path, tuple(columns), row, False)


def stack_of(own: dict[str, nn.Parameter], path: str, name: str, dims: tuple[int, int]) -> Linear:
    outputs, inputs = (own[name].shape[d] for d in dims)
    bias = (joined(path, n) for n, p in own.items() if n.startswith(name) and p.shape == (len(own[name]), outputs))
    return Linear(path, joined(path, name), next(bias, None), inputs, outputs, *dims)


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def head_size(modules: Sequence[nn.Module], width: int) -> int | None:
    """Features of one of the heads that make up `width`, as the modules, or else their configurations, tell."""
    configurations = [c for m in modules if (c := getattr(m, "config", None)) is not None]
    for holders in (modules, configurations):
        facts = {
            (name, value)
            for holder in holders
            for name, value in (holder if isinstance(holder, Mapping) else getattr(holder, "__dict__", {})).items()
            if isinstance(name, str) and "head" in name and type(value) is int and value > 0 and width % value == 0
        }
        of_one = [value for name, value in facts if name == "head_dim"]
        counts = [value for name, value in facts if "dim" not in name and "size" not in name]
        if of_one or counts:
            return min(of_one) if of_one else width // max(counts)
    return None


def embeddings_of(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """(path of the weight, weight) of each table of embeddings."""
    tables = ((path, m._parameters.get("weight")) for path, m in model.named_modules() if isinstance(m, nn.Embedding))
    return [(joined(path, "weight"), table) for path, table in tables if table is not None]


def vocabulary_of(model: nn.Module) -> torch.Tensor | None:
    """The table that a linear layer has as its weight too, else the one of most rows if it is no small part of all."""
    tables = [table for _, table in embeddings_of(model)]
    matrices = [
        w for m in model.modules() if isinstance(m, nn.Linear) and (w := m._parameters.get("weight")) is not None
    ]
    tied = {id(w) for w in matrices}
    table = max(tables, key=lambda t: (id(t) in tied, len(t)), default=None)
    largest = max((w.numel() for w in matrices), default=0)
    return table if table is not None and (id(table) in tied or 4 * table.numel() >= largest) else None
