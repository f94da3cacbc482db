"""torch's tools for DTensors: CommDebugMode, which cannot see all of Weft's collectives, as they run below the
dispatcher, says so; visualize_sharding draws sharded tensors."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch

from . import first_rank
from .after_import import after_import, replace_everywhere
from .drawing.drawing import draw
from .process import rank
from .tensors import is_sharded


def install() -> None:
    """Puts it into torch's modules, now or once they are imported."""
    after_import("torch.distributed.tensor.debug._comm_mode", _mend_counting)
    after_import("torch.distributed.tensor.debug._visualize_sharding", _mend_drawing)


def _mend_drawing(module: ModuleType) -> None:
    original = module.visualize_sharding

    @functools.wraps(original)
    def visualize_sharding(dtensor: Any, header: str = "", use_rich: bool = False) -> None:
        if not is_sharded(dtensor):
            original(dtensor, header, use_rich)
        elif rank() == 0:
            drawing = draw(dtensor)
            if header:
                print(header)
            if use_rich:
                from rich import print as print_coloured

                print_coloured(drawing)
            else:
                print(drawing)

    replace_everywhere(original, visualize_sharding, "torch.distributed")


def _mend_counting(module: ModuleType) -> None:
    cls = module.CommDebugMode
    enter, leave = cls.__enter__, cls.__exit__

    @functools.wraps(enter)
    def entered(self: Any) -> Any:
        self._weft_trace = torch.ops.weft.trace_start()
        return enter(self)

    @functools.wraps(leave)
    def left(self: Any, *error: Any) -> Any:
        issued = len(torch.ops.weft.trace_stop(self._weft_trace)[0])
        if issued:
            first_rank.warn(
                f"[W152] CommDebugMode sees only some of the {issued} collectives that Weft has issued below the "
                "dispatcher: use weft.trace(), which tells each one's op, bytes, variable and module",
                stacklevel=2,
            )
        return leave(self, *error)

    cls.__enter__, cls.__exit__ = entered, left
