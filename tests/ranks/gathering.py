"""A net whose weights are gathered, trained with gathers ahead of their use and without."""

import torch
import weft
from support.cases import same
from torch import nn
from torch.utils.checkpoint import checkpoint

MANY = 3 << 14  # rows of a batch so large that it stays where it is, and weights are gathered instead
DEPTH, WIDTH = 4, 6  # of Net: every split is uneven on three ranks or four


class Net(nn.Module):
    """Linear layers and weights for single elements, with or without checkpoints."""

    def __init__(self, recompute=False):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(WIDTH + i % 2, WIDTH + 1 - i % 2) for i in range(DEPTH))
        self.scales = nn.ParameterList(torch.rand(WIDTH + 1 - i % 2) for i in range(DEPTH))
        self.recompute = recompute

    def block(self, i, x):
        return torch.tanh(self.layers[i](x)) * self.scales[i]

    def forward(self, x):
        for i in range(DEPTH):
            x = (
                checkpoint(self.block, i, x, use_reentrant=self.recompute == "reentrant")
                if self.recompute
                else self.block(i, x)
            )
        return x


def one_axis():
    return weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")


def laid_out(model, mesh):
    axis = mesh.axis_names[0]
    layouts = {".*weight": (axis, None), ".*(bias|scales/.*)": (axis,)}
    return weft.distribute_module(model, layouts, mesh=mesh)


def batch(mesh, seed=1):
    x = torch.randn(MANY, WIDTH, generator=torch.Generator().manual_seed(seed))
    return weft.distribute_tensor(x, (mesh.axis_names[0], None), mesh)


def values(model):
    return [weft.full_tensor(p).detach() for p in model.parameters()]


def trained(make, program, steps=4):
    """All that a program's steps made, without gathers ahead, with, once more, and kept: to be equal to the bit."""
    found = []
    for budget, keep in ((0, False), (1 << 20, False), (1 << 20, False), (1 << 20, True)):
        with weft.overlap(budget, keep=keep):
            mesh = one_axis()
            model = laid_out(make(), mesh)
            made = program(model, mesh, steps)
            found.append([*made, *values(model)])
    for i, (without, *ahead) in enumerate(zip(*found, strict=True)):
        for way, value in zip(("ahead", "again", "kept"), ahead, strict=True):
            same(value, without, f"value {i}, {way}", exact=True)


def losses_of(model, mesh, steps, optimizer=torch.optim.AdamW, micro=1, update=True):
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(steps):
        for m in range(micro):
            loss = model(batch(mesh, seed=step * micro + m)).square().sum() / MANY
            loss.backward()
            losses.append(loss.detach() * 1)
        losses += [p.grad * 1 for p in model.parameters() if p.grad is not None]
        optimizer.step()
        optimizer.zero_grad()
    return [weft.full_tensor(t) for t in losses]
