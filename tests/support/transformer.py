"""A small transformer, and what a made map says of a model's variables."""

import torch
from torch import nn


def got(layouts, model):
    """What each parameter gets that is split, by path."""
    found = {}
    for path, p in model.named_parameters(remove_duplicate=False):
        axes = layouts.layout_for(path, p.shape).axes
        if any(axes):
            found[path] = axes
    return found


COLUMN, ROW = ("model", None), (None, "model")


class Attention(nn.Module):
    def __init__(self, d, kv=None, heads=4, inner=None):
        super().__init__()
        inner = inner or d
        self.heads_count = heads
        self.one, self.two, self.three = nn.Linear(d, inner), nn.Linear(d, kv or inner), nn.Linear(d, kv or inner)
        self.four = nn.Linear(inner, d)


class Gated(nn.Module):
    """The row in the middle: names and order tell nothing."""

    def __init__(self, d, hidden):
        super().__init__()
        self.x, self.y, self.z = nn.Linear(d, hidden), nn.Linear(hidden, d), nn.Linear(d, hidden)


class Block(nn.Module):
    def __init__(self, d=16, hidden=24, **attention):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(d), Attention(d, **attention)
        self.feed = Gated(d, hidden)


class Model(nn.Module):
    def __init__(self, layers=2, tie=False, words=64, **block):
        super().__init__()
        self.words, self.places = nn.Embedding(words, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(Block(**block) for _ in range(layers))
        self.out = nn.Linear(16, words, bias=False)
        self.register_buffer("mask", torch.ones(8, 8))
        if tie:
            self.out.weight = self.words.weight
