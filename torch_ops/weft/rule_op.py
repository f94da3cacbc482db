"""An op with plain arguments, to be run again with other tensors in their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .strings import shown

Place = tuple[int, int]  # of a tensor: argument, and element of a list or -1


class OpCall:
    """An op and its arguments: all of them in the schema's order, defaults filled in, tensors detached.

    Raises:
        ValueError: no such op, or the arguments do not fit it.
    """

    def __init__(self, name: str, args: Sequence, kwargs: Mapping[str, Any]) -> None:
        self.name = name
        self.op = find_op(name)
        self.schema = self.op._schema.arguments
        self.args = self.complete(args, kwargs)
        self.places: list[Place] = []  # of the tensors, once a rule is bound
        self.writes = any(a.alias_info is not None and a.alias_info.is_write for a in self.schema)

    def complete(self, args: Sequence, kwargs: Mapping[str, Any]) -> list:
        if len(args) > len(self.schema):
            raise ValueError(f"[W083] {self.name} takes {len(self.schema)} arguments, {len(args)} are given")
        unknown = set(kwargs) - {a.name for a in self.schema}
        if unknown:
            raise ValueError(f"[W083] {self.name} has no argument {', '.join(sorted(unknown))}")
        out = []
        for i, a in enumerate(self.schema):
            if i < len(args):
                value = args[i]
            elif a.name in kwargs:
                value = kwargs[a.name]
            elif a.has_default_value():
                value = a.default_value
            else:
                raise ValueError(f"[W083] {self.name}: argument {a.name} is missing")
            if str(a.type) == "Tensor" and not isinstance(value, torch.Tensor):
                value = torch.as_tensor(value)
            out.append(each(value, torch.Tensor.detach))
        return out

    def run(self, args: Sequence) -> list:
        """The op's results; of one that returns nothing, what it wrote. The arguments stay as they are."""
        write = [a.alias_info is not None and a.alias_info.is_write for a in self.schema]
        args = [each(a, torch.Tensor.clone) if w else a for a, w in zip(args, write, strict=True)]
        n = sum(not a.kwarg_only for a in self.schema)
        keywords = {a.name: v for a, v in zip(self.schema[n:], args[n:], strict=True)}
        out = self.op(*args[:n], **keywords)
        if not self.op._schema.returns:
            return [a for a, w in zip(args, write, strict=True) if w]
        return [out] if len(self.op._schema.returns) == 1 else list(out)

    def at(self, args: Sequence, tensor: int) -> Any:
        argument, element = self.places[tensor]
        return args[argument] if element < 0 else args[argument][element]

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


def find_op(name: str) -> torch._ops.OpOverload:
    space, _, rest = name.rpartition("::")
    base, _, overload = rest.partition(".")
    torch.ops.weft._bind_rule  # noqa: B018  the library is there
    packet = getattr(getattr(torch.ops, space or "aten"), base, None)
    found = getattr(packet, overload or "default", None)
    if found is None:
        raise ValueError(
            f"[W082] no op {shown(name)} is registered" + (f"; there are {packet.overloads()}" if packet else "")
        )
    return found
