"""DeviceMesh and TensorLayout: thin Python faces of the interned C++ objects."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import torch
import torch.distributed as dist

from . import _library  # noqa: F401  (the classes below come with the library)
from .arguments import needed
from .axes import Axes, SequenceNotStr, axes_tuple, names_tuple
from .handle import Interned
from .strings import checked, shown


class DeviceMesh(Interned):
    """An n-D grid of process ranks with named axes. Equal meshes are the same object underneath.

    Args:
        shape: ranks along each axis.
        axis_names: one name per axis, all different.
        devices: global ranks in row-major order, or Keras-style names ("cpu:3"), flat or nested; default 0, 1, ....
        device_type: "cpu" or "cuda"; default "cuda" where torch has one, else "cpu".
        simulate: a rank: the mesh has no processes, and this one stands for that rank of it. What is laid out over it
            has shapes and no memory, ops are planned as they would run, and collectives are counted (`weft.trace`) and
            send nothing. Values are nowhere: what asks for one (`item`) raises.

    Raises:
        ValueError: sizes disagree, a name or rank is repeated, a size is below 1; or, on all ranks, they make
            different meshes: in a world of several a mesh that is new costs a small collective, so every rank makes
            it. That it has as many ranks as the world is checked when it is first used.
    """

    def __init__(
        self,
        shape: Sequence[int],
        axis_names: SequenceNotStr[str],
        devices: Sequence[Any] | None = None,
        device_type: str | None = None,
        *,
        simulate: int | None = None,
    ) -> None:
        adopt_world()
        try:
            kind = checked(device_type or ("cuda" if torch.cuda.is_available() else "cpu"), "DeviceMesh: device type")
            names = list(names_tuple(axis_names, "DeviceMesh: axis name"))
            sizes = _sizes(shape)
            ranks = _ranks(devices)
            needed(simulate, (int, NoneType), "DeviceMesh: simulate")
            if simulate is not None and (ranks or simulate < 0):
                raise ValueError("[W022] DeviceMesh: simulate takes a rank, from 0 on, and no devices")
        except ValueError as error:
            if simulate is None:  # the others may be waiting to compare theirs
                torch.ops.weft.check_same(list(str(error).encode()), "the device mesh")
            raise
        self._object = torch.classes.weft.DeviceMesh(sizes, names, ranks, kind, -1 if simulate is None else simulate)

    @classmethod
    def from_torch(cls, device_mesh: Any) -> DeviceMesh:
        """The mesh of a `torch.distributed.device_mesh.DeviceMesh`, with its process groups.

        Raises:
            ValueError: a group does not fit its axis.
        """
        names = device_mesh.mesh_dim_names or tuple(f"axis{i}" for i in range(device_mesh.ndim))
        mesh = cls(tuple(device_mesh.mesh.shape), names, device_mesh.mesh.flatten().tolist(), device_mesh.device_type)
        groups = [device_mesh.get_group(i).group_name for i in range(device_mesh.ndim)]
        torch.ops.weft.adopt_groups(mesh._object, groups)
        return mesh

    @property
    def shape(self) -> tuple[int, ...]:
        """Ranks along each axis."""
        return tuple(self._object.shape())

    @property
    def axis_names(self) -> tuple[str, ...]:
        """One for each axis."""
        return tuple(self._object.axis_names())

    @property
    def ranks(self) -> tuple[int, ...]:
        """The global ranks in row-major order."""
        return tuple(self._object.ranks())

    @property
    def device_type(self) -> str:
        """ "cpu" or "cuda"."""
        return self._object.device_type()

    @property
    def simulated_rank(self) -> int | None:
        """The rank that this process stands for in a simulated mesh; None: a real one."""
        rank = self._object.simulated_rank()
        return None if rank < 0 else rank

    @property
    def size(self) -> int:
        """How many ranks are in it."""
        return len(self._object.ranks())

    @property
    def coordinates(self) -> dict[str, int]:
        """Where this rank is along each axis. Makes the process groups at first use: call it on every rank."""
        adopt_world()
        return dict(zip(self.axis_names, self._object.coordinates(), strict=True))

    def axis_size(self, name: str) -> int:
        """Raises ValueError where there is no such axis."""
        return self._object.axis_size(checked(name, "axis name"))

    def __repr__(self) -> str:
        axes = ", ".join(f"{n}={s}" for n, s in zip(self.axis_names, self.shape, strict=True))
        simulated = "" if self.simulated_rank is None else f", simulate={self.simulated_rank}"
        return f"DeviceMesh({axes}, device_type={self.device_type!r}{simulated})"


class TensorLayout(Interned):
    """Per tensor dimension the mesh axis, or tuple of axes (major first), that splits it; None: not split.

    Args:
        axes: one entry per tensor dimension, as Keras's TensorLayout or JAX's PartitionSpec.
        device_mesh: the mesh.
        partial: reductions still pending, by axis: {"model": "sum"}. Kinds: sum, avg, max, min, product, norm2.

    Raises:
        ValueError: an unknown axis, an axis used twice, an unknown reduction.
    """

    def __init__(self, axes: Axes, device_mesh: DeviceMesh, partial: Mapping[str, str] | None = None) -> None:
        needed(device_mesh, DeviceMesh, "TensorLayout: device_mesh")
        partial = needed(partial or {}, Mapping, "TensorLayout: partial")
        pending = {checked(a, "axis name"): checked(kind, "reduction") for a, kind in partial.items()}
        self._object = torch.classes.weft.TensorLayout(axes_tuple(axes), device_mesh._object, pending or None)

    @classmethod
    def replicated(cls, device_mesh: DeviceMesh, ndim: int) -> TensorLayout:
        """Every rank holds the whole."""
        return cls((None,) * ndim, device_mesh)

    @classmethod
    def from_placements(cls, placements: Sequence[Any], device_mesh: DeviceMesh, ndim: int) -> TensorLayout:
        """The layout that DTensor's placements tell, one per mesh axis: Shard(dim), Replicate(), Partial(kind).

        Raises:
            ValueError: another number of placements than mesh axes, or a placement that has no counterpart.
        """
        if len(placements) != len(device_mesh.axis_names):
            raise ValueError(f"[W032] {len(placements)} placements for {device_mesh}; give one per axis")
        axes: list[list[str]] = [[] for _ in range(ndim)]
        partial = {}
        for name, placement in zip(device_mesh.axis_names, placements, strict=True):
            if type(placement).__name__ == "Shard":
                if not -ndim <= placement.dim < ndim:
                    raise ValueError(f"[W032] {placement} of axis {name!r} is not a dimension of a tensor with {ndim}")
                axes[placement.dim % ndim].append(name)
            elif placement.is_partial():
                partial[name] = placement.reduce_op
            elif not placement.is_replicate():
                raise ValueError(f"[W032] {placement} of axis {name!r} has no counterpart in a TensorLayout")
        return cls([a or None for a in axes], device_mesh, partial)

    def placements(self) -> tuple:
        """The same as DTensor's placements, one per mesh axis.

        Raises:
            ValueError: DTensor has no such layout (axes of one dimension not in the order of the mesh, blocks).
        """
        from torch.distributed.tensor import Partial, Replicate, Shard

        order = self.device_mesh.axis_names
        found: dict[str, Any] = {name: Partial(kind) for name, kind in self.partial.items()}
        for dim, (axes, blocks) in enumerate(zip(self.axes, self._object.blocks(), strict=True)):
            names = (axes,) if isinstance(axes, str) else axes or ()
            if any(blocks) or list(names) != sorted(names, key=order.index):
                raise ValueError(f"[W032] layout {self} has no counterpart among DTensor's placements")
            found.update({name: Shard(dim) for name in names})
        return tuple(found.get(name) or Replicate() for name in order)

    @property
    def axes(self) -> tuple:
        """For each dimension an axis name, a tuple of them, or None."""
        return tuple(self._object.axes())

    @property
    def partial(self) -> dict[str, str]:
        """The pending reductions by axis."""
        return dict(self._object.partial())

    @property
    def device_mesh(self) -> DeviceMesh:
        """The mesh that the axes belong to."""
        return DeviceMesh._wrap(self._object.mesh())

    def local_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of this rank's part of a tensor of that shape."""
        adopt_world()
        return tuple(self._object.local_shape(list(shape)))

    def __repr__(self) -> str:
        return f"TensorLayout({self._object.describe()})"


def _sizes(shape: Any) -> list[int]:
    try:
        return [operator.index(size) for size in shape]
    except TypeError:
        raise ValueError(f"[W038] DeviceMesh: shape must be a sequence of int, not {shown(shape)}") from None


def _ranks(devices: Any) -> list[int]:
    if devices is None:
        return []
    if hasattr(devices, "tolist"):
        devices = devices.tolist()
    ranks: list[int] = []
    for device in devices if isinstance(devices, (list, tuple)) else [devices]:
        if isinstance(device, (list, tuple)):
            ranks += _ranks(device)
            continue
        text = str(device).rsplit(":", 1)[-1]
        if not text.isdecimal():
            raise ValueError(f"[W022] DeviceMesh: device {shown(device)} is neither a rank nor a name such as 'cpu:3'")
        ranks.append(int(text))
    return ranks


_looked_at: Any = None  # the default group when last looked at


def adopt_world() -> None:
    """Takes torch.distributed's default group as the world, where there is one and none was set."""
    global _looked_at
    group = dist.group.WORLD if dist.is_available() else None
    if group is _looked_at:
        return
    _looked_at = group
    if group is not None and group.size() > 1 and torch.ops.weft.world_size() == 1:
        torch.ops.weft.set_world(group.group_name)
