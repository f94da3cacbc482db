"""Unchanged models from transformers, torchvision and torch.nn, tiny, by name."""

from . import inputs, media, planned, text, vision
from .table import Entry, TorchEntry


class Models(dict):
    """The table; `planned.CLASS` beside it is that class of transformers as its default configuration makes it."""

    def __missing__(self, name: str) -> planned.Planned:
        if not name.startswith(planned.PREFIX):
            raise KeyError(name)
        return planned.Planned(name.removeprefix(planned.PREFIX))


MODELS: dict[str, Entry | TorchEntry | planned.Planned] = Models({**text.MODELS, **media.MODELS, **vision.MODELS})

__all__ = ["Entry", "MODELS", "TorchEntry", "inputs", "planned"]
