"""A net over tokens, with its layouts, and its training."""

import torch
import weft
from torch import nn


class Net(nn.Module):
    """Tied weights, buffers of both kinds, a convolution and a norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.full((8,), 0.5))
        self.register_buffer("shift", torch.arange(8.0) / 8, persistent=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) * self.scale + self.shift
        return self.head(self.norm(x))


LAYOUTS = {
    r"embed/weight": ("m", None),
    r"layers/0/weight": ("m", None),
    r"layers/1/weight": (None, "m"),
    r"layers/\d/bias|scale": ("m",),
}


def mesh_of(size, name="m"):
    return weft.DeviceMesh((size,), (name,), device_type="cpu")


def make(size):
    torch.manual_seed(1)
    net = Net()
    return net, weft.LayoutMap(mesh_of(size), LAYOUTS)


TOKENS = torch.tensor([[1, 2, 3, 4, 5], [0, 11, 7, 7, 2]])


def loss_of(net):
    logits = net(TOKENS)
    return nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS.flatten())


def train(net, optimizer, steps=3):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
