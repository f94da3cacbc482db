"""Rules for a program's own ops: telling Weft how an op may be split, and checking that it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from . import _library  # noqa: F401
from .arguments import needed
from .rule_check import Checker, RuleCheck
from .strings import checked, shown


def register_rule(op: Any, text: str) -> None:
    """Tells how an op may be split, so that it runs on the shards instead of being gathered.

        weft.register_rule("mylib::op", "m k, k n -> m n;  sum k")

    One name for each dimension of each tensor argument and result, in the schema's order; equal ones are split
    together, 1 is never split, `...` are batch dimensions, `*` marks a list. A factor that no result has says what its
    parts give: `sum k` (max, min, product, norm2), or `whole k` where it must not be split; `linear 0` lets operand 0
    be a pending sum. In-place, foreach and out= variants (`mylib::op_`, `mylib::_foreach_op`, `mylib::op.out`) follow.
    An op may have several rules where each but the last says `when argument` or `unless argument` it holds.

    Every rank registers the same rules, at any time: plans made for the op before are dropped. The op needs a meta
    kernel (`torch.library.register_fake`), which tells the shapes of its results; without one it is gathered.

    Args:
        op: its name, "namespace::name" or "namespace::name.overload", or the op itself (of `torch.ops` or
            `torch.library.custom_op`).
        text: the rule.

    Raises:
        ValueError: the text does not fit the notation or the op's schema (names the op, the text and the place in it);
            no such op; it has a rule already; or it is one that a rule cannot speak of (views, ops made of others,
            results that are no tensors).
    """
    torch.ops.weft.register_rule(op_name(op), checked(text, "register_rule: the rule"))


def check_rule(
    op: Any,
    text: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    parts: Sequence[int] = (2, 3),
) -> RuleCheck:
    """Whether a rule is true of its op, found by running the op in this process: no mesh, no other ranks.

    Each split that the rule allows is made: the tensors are cut, evenly and unevenly, the op runs on the parts, and
    what the rule makes of the parts is compared with the op on the full tensors; likewise operands that may be pending
    are taken apart into sums of both signs. Gradients are compared too where the op has them, and the op's meta kernel.

    Args:
        op: as for `register_rule`.
        text: a rule; None: the one that is registered.
        args: plain arguments to run the op on. Dimensions should be 4 or longer and of different lengths.
        kwargs: the same by name.
        parts: numbers of parts to cut into; one that leaves uneven parts is added for each dimension.

    Raises:
        ValueError: the text does not fit the op, or the arguments do not fit the rule.
    """
    if text is not None:
        checked(text, "check_rule: the rule")
    needed(args, (tuple, list), "check_rule: args")
    return Checker(op_name(op), text, args, kwargs or {}, parts).run()


def op_name(op: Any) -> str:
    """ "namespace::name.overload" of an op in any of its Python forms."""
    if isinstance(op, str):
        return checked(op, "the op's name")
    if isinstance(op, torch._ops.OpOverload):
        return op.name()
    for attribute in ("_qualified_op_name", "_qualname"):  # of torch.ops and torch.library.custom_op
        name = getattr(op, attribute, None)
        if isinstance(name, str):
            return name
    raise TypeError(f"[W082] {shown(op)} is no op: pass its name, or the op of torch.ops or torch.library.custom_op")
