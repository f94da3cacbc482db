"""A net with pending gradients, beside a plain one, and what its trace has of them."""

import torch
import weft
from torch import nn


def net(width=6, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth))).double()


MANY = 3 << 14  # a batch so large that it stays where it is, and weights are gathered instead


def every_axis(mesh):
    return tuple(mesh.axis_names) if len(mesh.axis_names) > 1 else mesh.axis_names[0]


def pair(mesh, batch=8, layouts=None, **sizes):
    """The plain net, and the same one replicated or laid out, with a batch for each, split over all axes."""
    plain = net(**sizes)
    x = torch.randn(batch, plain[0].in_features).double()
    sharded = weft.distribute_module(net(**sizes), layouts or {}, mesh=mesh)
    return (plain, x), (sharded, weft.distribute_tensor(x, (every_axis(mesh), None), mesh))


def gradients(trace):
    return [r for r in trace.rows if r.op == "gradient"]
