"""Unchanged models and losses, tiny, by name: of transformers, torchvision, torch.nn, timm, diffusers, and of the
libraries of tools/requirements-models.txt."""

from . import backbones, diffusion, graphs, inputs, media, preferences, sentences, text, vision
from .table import Entry, TorchEntry

MODELS: dict[str, Entry | TorchEntry] = {
    name: entry
    for part in (text, media, vision, backbones, diffusion, sentences, preferences, graphs)
    for name, entry in part.MODELS.items()
}

__all__ = ["Entry", "MODELS", "TorchEntry", "inputs"]
