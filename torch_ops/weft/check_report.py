"""What weft.check tells."""

from __future__ import annotations

import dataclasses

from .text_table import human


@dataclasses.dataclass(frozen=True)
class Difference:
    """What first is not as it should be."""

    kind: str  # "forward", "backward", "buffer"; "ranks": plain already; "error": the sharded step raised
    module: str  # path and type of the module, as far as it is known
    op: str  # the op that made it, in that module; empty: not found
    operands: str  # the op's, as they were laid out
    variables: tuple[str, ...]  # paths of the variables among them, or of the one whose gradient or value is wrong
    largest: float  # difference of two elements; nan where shapes, dtypes or errors tell
    relative: float  # to the largest element
    text: str  # a sentence

    def __str__(self) -> str:
        parts = [f"first {self.kind}: {self.text}"]
        if self.module:
            parts.append(f"  module:    {self.module}")
        if self.op:
            parts.append(f"  op:        {self.op}, operands {self.operands}")
        if self.variables:
            parts.append(f"  variables: {', '.join(self.variables)}")
        return "\n".join(parts)


@dataclasses.dataclass(frozen=True)
class Check:
    """What `check` found. True where sharded is as plain; prints as a few lines."""

    first: Difference | None
    mesh: str
    outputs: int  # of modules that were compared
    gradients: int
    loss: float | None  # plain
    sharded_loss: float | None
    worst: float  # the largest relative difference of all that were compared
    collectives: int  # of the sharded step
    bytes: int  # that this rank sent
    notes: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether sharded is as plain."""
        return self.first is None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = "sharded as plain" if self.ok else "sharded is not as plain"
        lines = [
            f"{head}: {self.outputs} outputs of modules, {self.gradients} gradients, relative differences up to "
            f"{self.worst:.1e}; {self.mesh}, {self.collectives} collectives, {human(self.bytes)} sent, "
            f"{self.seconds:.1f} s"
        ]
        if self.loss is not None and self.sharded_loss is not None:
            lines.append(f"loss {self.sharded_loss:.6g}, plain {self.loss:.6g}")
        if self.first is not None:
            lines.append(str(self.first))
        return "\n".join([*lines, *(f"note: {n}" for n in self.notes)])
