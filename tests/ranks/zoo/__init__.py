"""Unchanged models and losses, tiny, by name: of transformers, torchvision, torch.nn, timm, diffusers, and of the
libraries of tools/requirements-models.txt."""

from . import backbones, diffusion, graphs, inputs, media, planned, preferences, sentences, text, vision
from .table import Entry, TorchEntry


class Models(dict):
    """The table; `planned.CLASS` beside it is that class of transformers as its default configuration makes it."""

    def __missing__(self, name: str) -> planned.Planned:
        if not name.startswith(planned.PREFIX):
            raise KeyError(name)
        return planned.Planned(name.removeprefix(planned.PREFIX))


MODELS: dict[str, Entry | TorchEntry | planned.Planned] = Models(
    (name, entry)
    for part in (text, media, vision, backbones, diffusion, sentences, preferences, graphs)
    for name, entry in part.MODELS.items()
)

__all__ = ["Entry", "MODELS", "TorchEntry", "inputs", "planned"]
