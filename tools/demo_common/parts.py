"""Which part of a variable each rank holds, and the colours that say so."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
import weft

# Ranks of one half along "model" are shades of one colour; a part that several ranks hold has the mean of theirs.
COLOURS = ["#2f6fb0", "#d9822b", "#8fc1ea", "#f6c58b"]
EVERYWHERE = "#e3e7ec"
INK, FAINT = "#2b2f36", "#8a919c"

Box = list[int]  # start and stop along each dimension, one after the other


def boxes_of(variables: Mapping[str, torch.Tensor]) -> dict[str, list[Box]]:
    """For each sharded variable the box that each rank holds. A collective."""
    mine = {path: _box(v) for path, v in variables.items()}
    everyone: list = [None] * weft.world_size()
    dist.all_gather_object(everyone, mine)
    return {path: [theirs[path] for theirs in everyone] for path in mine}


def _box(variable: torch.Tensor) -> Box:
    index = torch.arange(variable.numel()).view(variable.shape)
    local = weft.local_tensor(weft.distribute_tensor(index, weft.layout_of(variable))).flatten()
    first, last = (torch.unravel_index(local[i], variable.shape) for i in (0, -1))
    return [int(n) for start, end in zip(first, last, strict=True) for n in (start, end + 1)]


def holders(boxes: list[Box]) -> dict[tuple[int, ...], list[int]]:
    """The ranks that hold each box."""
    found: dict[tuple[int, ...], list[int]] = {}
    for rank, box in enumerate(boxes):
        found.setdefault(tuple(box), []).append(rank)
    return found


def colour_of(ranks: list[int] | tuple[int, ...], world: int = len(COLOURS)) -> tuple[float, ...]:
    """The colour of a part that those ranks of `world` hold."""
    from matplotlib.colors import to_rgb

    if len(ranks) == world:
        return to_rgb(EVERYWHERE)
    shades = [to_rgb(COLOURS[rank]) for rank in ranks]
    return tuple(sum(channel) / len(shades) for channel in zip(*shades, strict=True))


def ink_on(colour: tuple[float, ...]) -> str:
    """The colour of text on it."""
    return "white" if sum(colour) < 1.6 else INK
