"""Gathers ahead of their use: what is in flight while a layer computes, and what they take of memory."""

import time

import pytest
import torch
import weft
from support.cases import cases_on_worlds
from torch import nn
from weft.memory import MemoryLog

LAYERS, WIDTH, ROWS = 5, 240, 1500  # so many rows that weights are gathered, not activations
WEIGHT = WIDTH * WIDTH * 4  # bytes
BUDGET = 2 * WEIGHT  # two buckets of one layer


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Watched(Stack):
    """Notes when each layer runs, forward and backward, in nanoseconds of the clock that traces have."""

    def __init__(self):
        super().__init__()
        self.forwards, self.arrived = [], []

    def forward(self, x):
        self.forwards, self.arrived = [], []
        for layer in self.layers:
            begin = time.monotonic_ns()
            x = torch.tanh(layer(x))
            self.forwards.append((begin, time.monotonic_ns()))
            x.register_hook(lambda _: self.arrived.append(time.monotonic_ns()))
        return x

    def backwards(self):
        """Of the layers whose input has a gradient, the last one first."""
        return list(zip(self.arrived, self.arrived[1:], strict=False))


def made(make=Stack):
    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    model = weft.distribute_module(make(), {".*": ("a", None)}, mesh=mesh)
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    return model, weft.distribute_tensor(x, ("a", None), mesh)


def step(model, x):
    loss = model(x).square().mean()
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(p.grad, alpha=0.1)
            p.grad = None


def gathers(rows):
    return [r for r in rows if r.kind == "all_gather"]


def layer_of(row):
    return int(row.path.split("/")[1])


def overlaps():
    """The next layer's weight is sent for before a layer computes, and waited for after it: all but the first."""
    model, x = made(Watched)
    with weft.overlap(BUDGET):
        for _ in range(3):
            step(model, x)
        with weft.trace() as trace:
            step(model, x)
    assert {r.bytes for r in gathers(trace.rows)} == {gathers(trace.rows)[0].bytes}, f"{trace}"
    flights = [
        (row, moment.start, moment.start + moment.duration)
        for row, moment in zip(trace.rows, trace.moments, strict=True)
        if row.op == "gather"
    ]

    def meanwhile(layer, windows):
        """Those computations before whose end the layer's weight was sent for, and after which it was waited for."""
        return [
            i
            for i, (_, end) in enumerate(windows)
            for row, start, here in flights
            if layer_of(row) == layer and start < end < here
        ]

    forward = [k for k in range(1, LAYERS) if k - 1 in meanwhile(k, model.forwards)]
    assert forward == list(range(1, LAYERS)), f"{forward} of {flights}, {model.forwards}"
    # Of the last layer backward finds what forward had; the first one's backward needs no weight.
    backward = [k for k in range(1, LAYERS - 1) if LAYERS - 2 - k in meanwhile(k, model.backwards())]
    assert backward == list(range(1, LAYERS - 1)), f"{backward} of {flights}, {model.backwards()}"
    assert len(flights) == 2 * LAYERS - 3, f"{flights}"


def peaks(settings):
    """Of a step with each setting, after three others with it, in one record: buffers kept for later count.

    The least of four steps: Gloo's threads let go of what they sent when they come to it.
    """
    model, x = made()
    found = []
    with MemoryLog() as log:
        for budget, keep in settings:
            with weft.overlap(budget, keep=keep):
                for _ in range(3):
                    step(model, x)
                marks = [log.mark()]
                for _ in range(4):
                    step(model, x)
                    marks.append(log.mark())
            found.append(min(log.peak(begin, end).bytes for begin, end in zip(marks, marks[1:], strict=False)))
    return found


def memory():
    """Two buckets more than without."""
    without, ahead = peaks(((0, False), (BUDGET, False)))
    assert ahead <= without + BUDGET, f"{ahead} and {without} without, weights of {WEIGHT}"


def memory_kept():
    """At most all weights that backward needs, beside the two buckets."""
    ahead, kept = peaks(((BUDGET, False), (BUDGET, True)))
    assert kept <= ahead + LAYERS * WEIGHT, f"{kept} and {ahead} when freed, weights of {WEIGHT}"


def kept():
    """What forward gathered is there in backward: each weight travels once a step."""
    model, x = made()
    counts = []
    for keep in (False, True, False):
        with weft.overlap(BUDGET, keep=keep):
            for _ in range(3):
                step(model, x)
            with weft.trace() as trace:
                step(model, x)
        counts.append(len(gathers(trace.rows)))
    assert counts == [2 * LAYERS - 2, LAYERS, 2 * LAYERS - 2], f"{counts}"


def kept_without_budget():
    """Nothing ahead of its use, and once a step all the same."""
    model, x = made()
    with weft.overlap(0, keep=True):
        for _ in range(3):
            step(model, x)
        with weft.trace() as trace:
            step(model, x)
    assert [layer_of(r) for r in gathers(trace.rows)] == list(range(LAYERS)), f"{trace.rows}"


def written_between():
    """A weight that changes between forward and backward is gathered again, as autograd then says."""
    model, x = made()
    with weft.overlap(BUDGET, keep=True):
        for _ in range(3):
            step(model, x)
        loss = model(x).square().mean()
        with torch.no_grad():
            model.layers[1].weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        model.zero_grad()
        step(model, x)


CASES = {f.__name__: f for f in (overlaps, memory, memory_kept, kept, kept_without_budget, written_between)}


results, test_overlap = cases_on_worlds(globals(), 2, 3, mesh=None)
