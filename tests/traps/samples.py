"""A split tensor and a split net."""

import torch
import weft
from torch import nn

X = torch.linspace(-2, 2, 35).view(7, 5)


def split(mesh, t=X, axes=("a", None)):
    return weft.distribute_tensor(t, axes, mesh)


def net(mesh=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    layouts = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a")}
    return weft.distribute_module(model, layouts, mesh=mesh) if mesh else model
