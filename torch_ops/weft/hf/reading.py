"""A checkpoint's tensors, of which each rank reads its own part."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..mesh import TensorLayout

_BLOCK = 16 << 20  # bytes that are read at a time: rows of which a part is kept pass through memory


def open_files(files: Sequence[str], closed: contextlib.ExitStack) -> dict[str, Any]:
    """The tensors of safetensors files by name, each to be read by slices until `closed` is.

    They are read by `pread`, so that what has been read leaves no mapped pages behind.
    """
    from safetensors import safe_open

    found = {}
    for file in files:
        opened = closed.enter_context(safe_open(file, framework="pt", backend="pread"))
        found.update({name: opened.get_slice(name) for name in opened.keys()})  # noqa: SIM118
    return found


def read(source: Any, ranges: Sequence[range], into: torch.Tensor) -> None:
    """Copies that part of a slice of safetensors, or of a plain tensor, into `into`, block by block."""
    if into.numel() == 0:
        return
    if not ranges:
        into.copy_(source[...])
        return
    shape = shape_of(source)
    dim = next((d for d, r in enumerate(ranges) if len(r) > 1), 0)
    row = math.prod(shape[dim + 1 :]) * 8
    step = max(1, _BLOCK // max(row, 1))
    for at in range(0, len(ranges[dim]), step):
        piece = [slice(r.start, r.stop) for r in ranges]
        start = ranges[dim].start + at
        piece[dim] = slice(start, min(start + step, ranges[dim].stop))
        into.narrow(dim, at, piece[dim].stop - start).copy_(source[tuple(piece)])


def shape_of(source: Any) -> tuple[int, ...]:
    return tuple(source.shape if isinstance(source, torch.Tensor) else source.get_shape())


def dtype_of(source: Any) -> torch.dtype:
    return (source if isinstance(source, torch.Tensor) else source[(slice(0, 0),) * len(source.get_shape())]).dtype


def ranges_of(layout: TensorLayout, shape: Sequence[int]) -> list[range]:
    """The indices of this rank's part, by dimension: each axis in turn cuts as torch.chunk does."""
    mesh = layout.device_mesh
    coordinates = mesh.coordinates
    out = []
    for size, axes in zip(shape, layout.axes, strict=True):
        part = range(size)
        for axis in names_of(axes):
            length = -(-len(part) // mesh.axis_size(axis))
            at = min(length * coordinates[axis], len(part))
            part = part[at : at + length]
        out.append(part)
    return out


class Part:
    """A tensor of a checkpoint as transformers' loader takes it: `part[...].to(device=…, dtype=…)` reads it, sharded.

    It is read where `.to` is called, which is right before it is used, so that one variable is in memory twice at most.
    """

    def __init__(self, source: Any, layout: TensorLayout) -> None:
        self._source, self._layout = source, layout

    def __getitem__(self, index: Any) -> Part:
        return self

    def get_shape(self) -> list[int]:
        return list(shape_of(self._source))

    def get_dtype(self) -> str:
        return self._source.get_dtype()

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Reads onto the mesh's own device, whatever `device` says."""
        shape = shape_of(self._source)
        device = torch.device(self._layout.device_mesh.device_type)
        out = torch.ops.weft._empty(shape, self._layout._object, dtype=dtype or dtype_of(self._source), device=device)
        read(self._source, ranges_of(self._layout, shape), torch.ops.weft.local_tensor(out))
        return out


def spread(axes: Sequence[Any], shape: Sequence[int]) -> tuple:
    """Axes for a tensor that becomes a part of a variable of those axes, or is cut into several: as the variable's last
    dimensions, and what splits its others splits the largest here, so that no rank reads more than its share."""
    own = list(axes[-len(shape) :] if shape else ())
    own = [None] * (len(shape) - len(own)) + own
    others = [axis for entry in axes[: max(0, len(axes) - len(shape))] for axis in names_of(entry)]
    if shape and others:
        largest = max(range(len(shape)), key=lambda d: shape[d])
        own[largest] = (*names_of(own[largest]), *others)
    return tuple(own)


def names_of(entry: str | Sequence[str] | None) -> tuple[str, ...]:
    """The axes of a layout's entry for one dimension."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that is another one meanwhile."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
