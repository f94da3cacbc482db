"""A net with variables laid out in several ways, and its loss."""

import torch
import weft
from torch import nn

LAYOUTS = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a"), "3/weight": ("a",)}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3), nn.LayerNorm(3)).double()


def batch(mesh=None):
    """Split over the mesh, so that the weights' gradients are pending sums."""
    torch.manual_seed(1)
    x = torch.randn(9, 5, dtype=torch.float64)
    return x if mesh is None else weft.distribute_tensor(x, ("a", None), mesh)


def loss_of(model, x):
    return model(x).square().sum()


def distributed(mesh, model):
    return weft.distribute_module(model, LAYOUTS, mesh=mesh)
