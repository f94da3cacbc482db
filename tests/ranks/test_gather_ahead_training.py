"""Kinds of training steps with gathers ahead of their use: the same numbers to the bit."""

import torch
import weft
from ranks.gathering import DEPTH, MANY, Net, batch, laid_out, losses_of, trained, values
from support.cases import cases_on_worlds
from torch import nn


def train_step():
    trained(Net, losses_of)


def gradient_accumulation():
    trained(Net, lambda *a: losses_of(*a, micro=3))


def activation_checkpointing():
    trained(lambda: Net(recompute=True), losses_of)


def reentrant_checkpointing():
    def program(model, mesh, steps):
        losses = []
        for step in range(steps):
            x = batch(mesh, step).requires_grad_()
            loss = model(x).square().sum()
            loss.backward()
            losses += [loss.detach(), x.grad]
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(p.grad, alpha=1e-5)
                    p.grad = None
        return [weft.full_tensor(t) for t in losses]

    trained(lambda: Net(recompute="reentrant"), program)


def frozen():
    def make():
        model = Net()
        for i in (0, 2):
            model.layers[i].requires_grad_(False)
            model.scales[i].requires_grad_(False)
        return model

    trained(make, losses_of)


class LoRA(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, 3, bias=False)
        self.up = nn.Linear(3, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def lora():
    def make():
        model = Net()
        model.scales.requires_grad_(False)
        for i in range(DEPTH):
            model.layers[i] = LoRA(model.layers[i])
        return model

    trained(make, losses_of)


def two_models():
    """A teacher that is not trained, with the same paths, and one that is."""

    def program(model, mesh, steps):
        teacher = laid_out(Net(), mesh)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for step in range(steps):
            x = batch(mesh, step)
            with torch.no_grad():
                wanted = teacher(x + 1)
            loss = (model(x) - wanted).square().sum() / MANY
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                for p, q in zip(teacher.parameters(), model.parameters(), strict=True):
                    p.lerp_(q, 0.25)
            losses.append(weft.full_tensor(loss.detach()))
        return [*losses, *values(teacher)]

    trained(Net, program)


CASES = {
    f.__name__: f
    for f in (
        train_step,
        gradient_accumulation,
        activation_checkpointing,
        reentrant_checkpointing,
        frozen,
        lora,
        two_models,
    )
}


results, test_gather_ahead = cases_on_worlds(globals(), 2, 3, mesh=None)
