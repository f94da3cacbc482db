"""Higher-order ops on sharded tensors while a compiler traces: torch.cond, map, flex_attention.

What core does with such an op (it makes fakes of its results, records it with the graphs that it calls) knows core's
own kinds of tensors alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from .traced import Traced, part_of


def install() -> None:
    """Hooks into the dispatch of higher-order ops, once."""
    original = HigherOrderOperator.dispatch

    @functools.wraps(original)
    def dispatch(self: Any, /, dispatch_key: Any, *args: Any, **kwargs: Any) -> Any:
        if dispatch_key == torch._C.DispatchKey.Python:
            rule = _RULES.get(self.name())
            if rule is not None and any(type(a) is Traced for a in self._get_overloaded_args(args, kwargs)):
                return rule(self, *args, **kwargs)
        return original(self, dispatch_key, *args, **kwargs)

    HigherOrderOperator.dispatch = dispatch  # type: ignore[method-assign]


def _unfold(op: Any, *args: Any, **kwargs: Any) -> Any:
    """As the ops that it is made of."""
    return op.py_kernels[torch._C.DispatchKey.CompositeExplicitAutograd](*args, **kwargs)


def _either(op: Any, pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any) -> Any:
    """Dynamo asks what comes of it; which way it goes is known when it runs.

    Raises:
        NotImplementedError: a graph is recorded, in which it would have to stand.
    """
    traced = next(a for a in pytree.tree_leaves((pred, operands)) if type(a) is Traced)
    if not isinstance(part_of(traced), FakeTensor):
        raise NotImplementedError("[W067] weft: torch.cond on sharded tensors is not recorded, but runs by itself")
    results = true_fn(*operands)
    false_fn(*operands)
    return results


_RULES: dict[str, Callable[..., Any]] = {
    "cond": _either,
    "flex_attention": _unfold,
    "flex_attention_backward": _unfold,
    "map_impl": _unfold,
}
