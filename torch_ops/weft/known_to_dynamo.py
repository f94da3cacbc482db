"""What Dynamo is told of Weft's Python, which code that it looks at runs into on plain tensors as well."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, TypeVar

import torch

from .after_import import after_import

_Function = TypeVar("_Function", bound=Callable[..., Any])
_IS_SHARDED = "_weft_is_sharded"
_skipped: list[CodeType] | None = []  # until Dynamo is imported


def install(is_sharded: Callable[[Any], bool], is_recorded_sharded: Callable[[Any], bool]) -> None:
    """Once.

    Args:
        is_sharded: of a real tensor.
        is_recorded_sharded: of what stands for one while a frame is recorded.
    """
    setattr(torch.Tensor, _IS_SHARDED, property(is_sharded))

    def tell(variables: ModuleType) -> None:
        def is_sharded_variable(self: Any, tx: Any) -> Any:
            from torch._dynamo.variables import ConstantVariable

            return ConstantVariable.create(is_recorded_sharded(self.as_proxy().node.meta.get("example_value")))

        # Dynamo looks for what it knows of a tensor under such names.
        setattr(variables.TensorVariable, f"method_attr_{_IS_SHARDED}", is_sharded_variable)

    after_import("torch._dynamo.variables.tensor", tell)
    after_import("torch._dynamo.eval_frame", _skip_all)


def recorded_as_sharded(tensor: torch.Tensor) -> bool:
    """In code that Dynamo records, a constant: whether it is sharded."""
    return getattr(tensor, _IS_SHARDED)


def left_alone(function: _Function) -> _Function:
    """Where code that is compiled calls it, it runs as it is. (Dynamo knows what core's own would do.)"""
    if _skipped is None:
        torch._dynamo.eval_frame.skip_code(function.__code__)
    else:
        _skipped.append(function.__code__)
    return function


def _skip_all(eval_frame: ModuleType) -> None:
    global _skipped
    for code in _skipped or ():
        eval_frame.skip_code(code)
    _skipped = None
