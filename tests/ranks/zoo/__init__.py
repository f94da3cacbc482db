"""Unchanged models from transformers, torchvision and torch.nn, tiny, by name."""

from . import inputs, media, text, vision
from .table import Entry, TorchEntry

MODELS: dict[str, Entry | TorchEntry] = {**text.MODELS, **media.MODELS, **vision.MODELS}

__all__ = ["Entry", "MODELS", "TorchEntry", "inputs"]
