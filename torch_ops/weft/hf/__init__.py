"""Models of Hugging Face's transformers, sharded: their own plans, and checkpoints read straight into shards.

Their layouts are combined with others by `|`.

    layouts = weft.layouts.fsdp(model, mesh, "data") | weft.hf.layouts(model, mesh)
    weft.distribute_module(model, layouts)
"""

from .loading import from_pretrained
from .plans import layouts

__all__ = ["from_pretrained", "layouts"]
