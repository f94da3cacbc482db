"""Random programs as Python text, and their runs on plain and on sharded tensors.

A program's lines make tensors x0, x1, … by `make(sizes, order, axes, partial, grad)` and others, v0, v1, …, from them.
What a line does is tried on plain tensors as it is drawn, so that every program is one that torch can run.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import torch
import weft
from oracle import layouts
from support.cases import same, whole

LARGEST = 1e3  # values beyond would leave no digits to compare
Names = dict[str, Any]
Step = Callable[[random.Random, Names], str]


def tensor(rng: random.Random, sizes: tuple[int, ...], axis_names: tuple[str, ...], order: bool = True) -> str:
    """A call of `make`: a layout for that many dimensions, and the order in memory, outermost first."""
    axes: list[list[str]] = [[] for _ in sizes]
    partial = {}
    for name in rng.sample(axis_names, len(axis_names)):  # two axes on one dimension: in both orders
        kind = rng.randrange(8)
        if kind < 5 and sizes:
            axes[rng.randrange(len(sizes))].append(name)
        elif kind == 5:
            partial[name] = rng.choice(layouts.REDUCTIONS)
    memory = tuple(rng.sample(range(len(sizes)), len(sizes))) if order and rng.randrange(3) == 0 else None
    return f"make({sizes}, {memory}, {tuple(tuple(a) or None for a in axes)}, {partial or None}, {rng.random() < 0.6})"


def values(sizes: tuple[int, ...], memory: tuple[int, ...] | None, seed: int) -> torch.Tensor:
    """Steps of 1/4096: the parts of a pending sum add up exactly."""
    memory = memory or tuple(range(len(sizes)))
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn([sizes[d] for d in memory], generator=generator, dtype=torch.float64)
    return layouts.coarse(t).permute([memory.index(d) for d in range(len(sizes))])


def environment(mesh: weft.DeviceMesh | None) -> Names:
    """What a program's text is run in: `make` gives plain tensors where there is no mesh."""
    made: list[torch.Tensor] = []

    def make(sizes: tuple, memory: tuple | None, axes: tuple, partial: dict | None, grad: bool) -> torch.Tensor:
        t = values(sizes, memory, len(made))
        if mesh:
            t = layouts.lay_out(t, weft.TensorLayout(axes, mesh, partial), len(made))
        made.append(t.requires_grad_(grad))
        return t

    return {"torch": torch, "make": make, "F": torch.nn.functional}


def tensors(names: Names) -> dict[str, torch.Tensor]:
    return {k: t for k, t in names.items() if isinstance(t, torch.Tensor)}


def backward(names: Names) -> None:
    """Runs backward from all that depends on the leaves, each element with its own weight."""
    loss = 0
    for t in tensors(names).values():
        if t.requires_grad and not t.is_leaf:
            loss = loss + (t.double() * torch.arange(1, t.numel() + 1).reshape(t.shape).div(t.numel() + 1)).sum()
    if isinstance(loss, torch.Tensor):
        loss.backward()


def run(lines: list[str], mesh: weft.DeviceMesh | None = None) -> Names:
    names = environment(mesh)
    for line in lines:
        try:
            exec(line, names)
        except Exception as e:
            raise RuntimeError(f"in {line!r}: {e}") from e
    backward(names)
    return names


def usable(lines: list[str]) -> bool:
    """Whether torch runs it, and to numbers that can be compared."""
    try:
        found = tensors(run(lines)).values()
    except Exception:
        return False
    gradients = [t.grad for t in found if t.is_leaf and t.grad is not None]
    return all(t.numel() <= 512 and comparable(t) for t in [*found, *gradients])


def comparable(t: torch.Tensor) -> bool:
    return not t.numel() or bool(t.detach().double().abs().max() < LARGEST)


def extended(rng: random.Random, lines: list[str], steps: list[Step], count: int) -> list[str]:
    """`count` more lines, each drawn from `steps`."""
    for _ in range(4 * count):
        if not count:
            break
        names = run(lines)
        found = rng.choice(steps)(rng, tensors(names))
        longer = [*lines, found]
        if found and usable(longer):
            lines, count = longer, count - 1
    return lines


def geometry(t: torch.Tensor) -> tuple:
    """Strides where they tell of memory: not of a dimension with one element."""
    strides = [s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1]
    return t.dtype, tuple(t.shape), *((t.storage_offset(), strides) if t.numel() else ())


def compare(lines: list[str], mesh_shape: tuple[int, ...]) -> None:
    """That the program does on sharded tensors what it does on plain ones; for `run_cases`."""
    mesh = weft.DeviceMesh(mesh_shape, ("a", "b", "c")[: len(mesh_shape)], device_type="cpu")
    plain, sharded = tensors(run(lines)), tensors(run(lines, mesh))
    for name, p in plain.items():
        s = sharded[name]
        found, expected = geometry(s), geometry(p)
        assert found == expected, f"{name}: dtype, sizes, offset, strides {found}, not {expected}"
        same(s, p.detach(), name)
        if p.is_leaf and p.requires_grad:
            assert (s.grad is None) == (p.grad is None), f"{name}: gradient"
        if p.is_leaf and p.grad is not None:
            same(s.grad, whole(p.grad), f"gradient of {name}")


def text(lines: list[str], mesh_shape: tuple[int, ...]) -> str:
    """The program as Python text that runs by itself on as many ranks as the mesh has."""
    body = ",\n".join(f"    {line!r}" for line in lines)
    return f"# {math.prod(mesh_shape)} ranks\nlines = [\n{body},\n]\nprograms.compare(lines, {mesh_shape})\n"
