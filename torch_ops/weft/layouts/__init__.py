"""The usual layouts of a whole model in one line each; `|` combines them.

What they make is an ordinary LayoutMap.

    layouts = weft.layouts.fsdp(model, mesh, "data") | weft.layouts.megatron(model, mesh, "model")
    print(layouts)                               # each entry, and what stays whole and why
    layouts["lm_head/weight"] = (None, None)     # what is set afterwards counts
    weft.distribute_module(model, layouts)
"""

from .fsdp import fsdp
from .megatron import megatron

__all__ = ["fsdp", "megatron"]
