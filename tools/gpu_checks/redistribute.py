"""Redistribution on 2 and 4 Gloo ranks of one card: every change of layout, with the values and gradients it must have.

All pairs of layouts over all axes of the mesh, pending sums among them, for even and uneven shapes and several types.
"""

import itertools

import torch
import torch.distributed as dist
import weft
from common import device_option, require, row, timing

MESHES = {2: ((2,), ("a",)), 4: ((2, 2), ("a", "b"))}
SHAPES = ((8, 12), (5, 3))
TYPES = (torch.float32, torch.bfloat16, torch.int16, torch.bool, torch.complex64)


def layouts(mesh: weft.DeviceMesh, pending: bool) -> list[weft.TensorLayout]:
    """Every way in which each axis splits a dimension of a matrix, holds a part of a sum, or does nothing."""
    found = []
    for states in itertools.product((None, 0, 1, "sum") if pending else (None, 0, 1), repeat=len(mesh.axis_names)):
        of = dict(zip(mesh.axis_names, states, strict=True))
        axes = [tuple(name for name, state in of.items() if state == dim) or None for dim in range(2)]
        found.append(weft.TensorLayout(axes, mesh, {name: "sum" for name, state in of.items() if state == "sum"}))
    return found


def laid_out(value: torch.Tensor, layout: weft.TensorLayout) -> torch.Tensor:
    """The value in that layout; a pending sum is value * 3 - 2 * value over two ranks."""
    splits = weft.TensorLayout(layout.axes, layout.device_mesh)
    local = weft.local_tensor(weft.distribute_tensor(value, splits))
    where = layout.device_mesh.coordinates
    for axis in layout.partial:
        local = local * (3 if where[axis] == 0 else -2)
    return weft.from_local(local, layout, value.shape)


def rank(device: str) -> int:
    mesh = weft.DeviceMesh(*MESHES[dist.get_world_size()], device_type=device)
    changes = 0
    for shape, dtype in itertools.product(SHAPES, TYPES):
        value = torch.arange(shape[0] * shape[1], device=device).view(shape) % 13 - 6  # sums are exact in any type
        value = value % 2 == 0 if dtype == torch.bool else value.to(dtype)
        pending = dtype not in (torch.bool, torch.int16)
        for before, after in itertools.product(layouts(mesh, pending), layouts(mesh, False)):
            x = laid_out(value, before)
            if dtype.is_floating_point:
                x.requires_grad_()
            y = weft.distribute_tensor(x, after)
            what = f"{dtype} {tuple(shape)} from {before} to {after}"
            require(
                weft.layout_of(y) == after and y.device.type == device, f"{what}: is {y.device} {weft.layout_of(y)}"
            )
            require(torch.equal(weft.full_tensor(y.detach()), value), f"{what}: wrong values")
            if dtype.is_floating_point:
                (y * value).sum().backward()
                require(torch.equal(weft.full_tensor(x.grad), value), f"{what}: wrong gradient")
            changes += 1
    return changes


def main(device: str) -> None:
    for ranks in MESHES:
        row(
            f"{ranks} Gloo ranks, {device} tensors", f"{timing.gloo_ranks(ranks, rank, device)} changes of layout right"
        )


if __name__ == "__main__":
    main(device_option(__doc__))
