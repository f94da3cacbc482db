"""One rank's part in a program of the fault matrix."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import weft

ODD = 1  # the rank that does otherwise
LATE = 0.3  # seconds: those that wait have begun to ask why
T = TypeVar("T")


class Part:
    """`faulty`: the ranks part; else the same program without the fault, which must raise nothing.

    `late`: "odd" or "others", who come to the fault later.
    """

    def __init__(self, tell: Callable, faulty: bool, late: str = "", seed: int = 0) -> None:
        self.tell, self.faulty, self.random = tell, faulty, random.Random(seed)
        self._late = {"odd": weft.rank() == ODD, "others": weft.rank() != ODD}.get(late, False)
        self.rank, self.ranks = weft.rank(), weft.world_size()
        self.mesh = weft.DeviceMesh((self.ranks,), ("a",), device_type="cpu")

    def odd(self) -> bool:
        """Whether this rank does otherwise, from now on."""
        if self._late:
            time.sleep(LATE)
        self.tell("mark")
        return self.faulty and self.rank == ODD

    def pick(self, usual: T, odd: T) -> T:
        return odd if self.odd() else usual

    def lay(self, plain: torch.Tensor, axes: Sequence) -> torch.Tensor:
        return weft.distribute_tensor(plain, tuple(axes), self.mesh)

    def rows(self, start: float = 0, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
        """A plain tensor with as many rows as there are ranks, and the same split over them."""
        plain = start + torch.arange(float(self.ranks * width)).view(self.ranks, width)
        return plain, self.lay(plain, ("a", None))

    def pending(self, start: float = 0, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
        """A plain tensor, and the same as a sum that is not carried out yet."""
        part = start + torch.arange(float(width))
        layout = weft.TensorLayout((None,), self.mesh, {"a": "sum"})
        return part * self.ranks, weft.from_local(part.clone(), layout)

    def check(self, got: Any, want: Any, what: str = "value") -> None:
        """What the user is given; a wrong one is told, and the program goes on."""
        got, want = torch.as_tensor(got), torch.as_tensor(want)
        same = got.shape == want.shape and torch.allclose(got.double(), want.double(), rtol=1e-4, atol=1e-5)
        if not same:
            self.tell("wrong", f"{what}: {got.flatten()[:4].tolist()}, not {want.flatten()[:4].tolist()}")

    def check_full(self, sharded: torch.Tensor, want: torch.Tensor, what: str = "full_tensor") -> None:
        self.check(weft.full_tensor(sharded.detach()), want, what)

    def check_swapped(self, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """full_tensor of each, of which the odd rank asks in the other order."""
        for plain, sharded in self.pick(pairs, pairs[::-1]):
            self.check_full(sharded, plain)

    def go_on(self) -> None:
        """Some collectives more, of several kinds."""
        for i in range(3):
            plain, sharded = self.rows(1000 * i)
            self.check_full(sharded, plain)
            self.check(sharded.sum().item(), plain.sum())
