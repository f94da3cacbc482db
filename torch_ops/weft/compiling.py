"""torch.compile of what works on sharded tensors: it runs as it would without, and says so once."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensorConverter

from . import first_rank
from .tensors import is_sharded

_WHY = (
    "[W067] weft: sharded tensors do not run in graphs of torch.compile; what touches them runs op by op, as without "
    "it, and so does the same code on plain tensors from then on. Leave torch.compile off, or keep it to code that "
    "gets plain tensors alone"
)
_told = False


def _skip_frame() -> None:
    """Leaves a frame that is being traced to Python, with a warning the first time.

    Raises:
        NotImplementedError: the caller insists on a graph (fullgraph=True).
    """
    global _told
    from torch._dynamo.symbolic_convert import InstructionTranslator

    if getattr(InstructionTranslator.current_tx(), "one_graph", False):
        raise NotImplementedError(_WHY)
    if not _told:
        _told = True
        first_rank.warn(_WHY, stacklevel=2)
    raise torch._dynamo.exc.SkipFrame(_WHY)


def install() -> None:
    """Hooks into torch.compile, once."""
    converter: Any = FakeTensorConverter
    if getattr(converter, "_weft_compiling", False):
        return
    original = converter.from_real_tensor

    @functools.wraps(original)
    def from_real_tensor(self: Any, fake_mode: Any, t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if is_sharded(t) and TracingContext.try_get() is not None and not torch.compiler.is_exporting():
            _skip_frame()
        return original(self, fake_mode, t, *args, **kwargs)

    converter.from_real_tensor = from_real_tensor
    converter._weft_compiling = True
