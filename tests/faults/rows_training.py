"""Training steps that one rank skips, leaves or takes twice."""

import contextlib
import copy
from collections.abc import Callable

import torch
import weft
from faults.part import Part
from faults.row import row
from torch import nn

ABOUT = (r"on rank 1\b", r"on rank (?!1\b)", r"number \d+", r"\[\w+")  # both ranks, the number and an op
RULES = {"0/weight": ("a", None), "2/weight": (None, "a")}


class Training:
    """The same small model plain and sharded."""

    def __init__(self, p: Part) -> None:
        self.part = p
        self.plain = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.sharded = copy.deepcopy(self.plain)
        weft.distribute_module(self.sharded, RULES, mesh=p.mesh)
        self.optimizers = [torch.optim.AdamW(m.parameters(), lr=0.05) for m in (self.plain, self.sharded)]

    def batch(self, step: int) -> torch.Tensor:
        return torch.randn(4, 8, generator=torch.Generator().manual_seed(step))

    def losses(self, step: int) -> list[torch.Tensor]:
        x = self.batch(step)
        sharded = weft.shard_batch(x, self.part.mesh, "a")
        return [self.plain(x).square().mean(), self.sharded(sharded).square().mean()]

    def update(self, losses: list[torch.Tensor]) -> None:
        for loss, optimizer in zip(losses, self.optimizers, strict=True):
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def step(self, step: int, update: Callable[[list[torch.Tensor]], None] | None = None) -> None:
        """Forward, the update (another one where it is given), and a look at the loss."""
        losses = self.losses(step)
        (update or self.update)(losses)
        self.part.check(losses[1].item(), losses[0], f"loss of step {step}")

    def steps_around(self, middle: Callable[[int], object]) -> None:
        """Four steps, the second of which is `middle`."""
        for step in range(4):
            (middle if step == 1 else self.step)(step)


@row(*ABOUT)
def step_skipped(p: Part) -> None:
    """one rank skips a whole training step."""
    training = Training(p)
    training.steps_around(lambda step: p.odd() or training.step(step))


@row(*ABOUT, ranks=3)
def step_skipped_on_three(p: Part) -> None:
    """one rank skips a whole training step, three ranks."""
    step_skipped(p)


@row(*ABOUT)
def forward_skipped(p: Part) -> None:
    """one rank skips a forward pass."""
    training = Training(p)
    training.steps_around(lambda step: p.odd() or training.losses(step))


@row(*ABOUT)
def exception_caught(p: Part) -> None:
    """one rank catches an exception between forward and backward and goes on with the next step."""
    training = Training(p)

    def update(losses: list[torch.Tensor]) -> None:
        if p.odd():
            raise KeyError("a bad sample")
        training.update(losses)

    def middle(step: int) -> None:
        with contextlib.suppress(KeyError):
            training.step(step, update)

    training.steps_around(middle)


@row(*ABOUT)
def backward_twice(p: Part) -> None:
    """one rank runs backward twice."""
    training = Training(p)

    def middle(step: int) -> None:
        losses = training.losses(step)
        if p.odd():
            for loss in losses:
                loss.backward(retain_graph=True)
        training.update(losses)

    training.steps_around(middle)


@row(*ABOUT)
def optimizer_step_skipped(p: Part) -> None:
    """one rank skips the optimizer's step after a backward pass."""
    training = Training(p)

    def middle(step: int) -> None:
        losses = training.losses(step)
        if p.odd():
            for loss in losses:
                loss.backward()
        else:
            training.update(losses)

    training.steps_around(middle)


@row(*ABOUT)
def learning_rate_differs(p: Part) -> None:
    """one rank has another learning rate."""
    training = Training(p)
    rate = p.pick(0.05, 0.01)
    for optimizer in training.optimizers:
        optimizer.param_groups[0]["lr"] = rate
    for step in range(3):
        training.step(step)


@row(*ABOUT)
def clipping_on_one(p: Part) -> None:
    """one rank alone clips its gradients."""
    training = Training(p)
    odd = p.odd()

    def update(losses: list[torch.Tensor]) -> None:
        for loss in losses:
            loss.backward()
        if odd or not p.faulty:
            for model in (training.plain, training.sharded):
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for optimizer in training.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    for step in range(3):
        training.step(step, update)
