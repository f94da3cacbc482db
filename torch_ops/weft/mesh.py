"""DeviceMesh and TensorLayout: thin Python faces of the interned C++ objects."""

from collections.abc import Mapping, Sequence

import torch

from . import _library  # noqa: F401  (the classes below come with the library)

Axes = Sequence[str | Sequence[str] | None]


class DeviceMesh:
    """An n-D grid of process ranks with named axes.

    Args:
        shape: ranks along each axis.
        axis_names: one name per axis, all different.
        devices: global ranks in row-major order, or Keras-style names ("cpu:3"); default 0, 1, ....
        device_type: "cpu" or "cuda"; default "cuda" where torch has one, else "cpu".

    Raises:
        ValueError: sizes disagree, a name or rank is repeated, a size is below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        axis_names: Sequence[str],
        devices: Sequence[int | str] | None = None,
        device_type: str | None = None,
    ):
        ranks = [int(str(d).rsplit(":", 1)[-1]) for d in devices] if devices is not None else []
        kind = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
        self._object = torch.classes.weft.DeviceMesh(list(shape), list(axis_names), ranks, kind)

    @classmethod
    def _wrap(cls, obj) -> "DeviceMesh":
        mesh = cls.__new__(cls)
        mesh._object = obj
        return mesh

    @classmethod
    def from_torch(cls, device_mesh) -> "DeviceMesh":
        """The mesh of a torch.distributed DeviceMesh, with its groups."""
        names = device_mesh.mesh_dim_names or tuple(f"axis{i}" for i in range(device_mesh.ndim))
        mesh = cls(tuple(device_mesh.mesh.shape), names, device_mesh.mesh.flatten().tolist(), device_mesh.device_type)
        groups = [device_mesh.get_group(i).group_name for i in range(device_mesh.ndim)]
        torch.ops.weft.adopt_groups(mesh._object, groups)
        return mesh

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._object.shape())

    @property
    def axis_names(self) -> tuple[str, ...]:
        return tuple(self._object.axis_names())

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(self._object.ranks())

    @property
    def device_type(self) -> str:
        return self._object.device_type()

    def __eq__(self, other) -> bool:
        return isinstance(other, DeviceMesh) and self._object.id() == other._object.id()

    def __hash__(self) -> int:
        return hash(self._object.id())

    def __repr__(self) -> str:
        axes = ", ".join(f"{n}={s}" for n, s in zip(self.axis_names, self.shape, strict=True))
        return f"DeviceMesh({axes}, device_type={self.device_type!r})"


def _axes_tuple(axes: Axes) -> tuple:
    return tuple(tuple(a) if isinstance(a, (list, tuple)) else a for a in axes)


class TensorLayout:
    """Per tensor dimension the mesh axis, or tuple of axes (major first), that splits it; None: not split.

    Args:
        axes: one entry per tensor dimension, as Keras's TensorLayout or JAX's PartitionSpec.
        device_mesh: the mesh.
        partial: reductions still pending, by axis: {"model": "sum"}. Kinds: sum, avg, max, min, product, norm2.

    Raises:
        ValueError: an unknown axis, an axis used twice, an unknown reduction.
    """

    def __init__(self, axes: Axes, device_mesh: DeviceMesh, partial: Mapping[str, str] | None = None):
        self._object = torch.classes.weft.TensorLayout(
            _axes_tuple(axes), device_mesh._object, dict(partial) if partial else None
        )

    @classmethod
    def _wrap(cls, obj) -> "TensorLayout":
        layout = cls.__new__(cls)
        layout._object = obj
        return layout

    @property
    def axes(self) -> tuple:
        return self._object.axes()

    @property
    def partial(self) -> dict[str, str]:
        return dict(self._object.partial())

    @property
    def device_mesh(self) -> DeviceMesh:
        return DeviceMesh._wrap(self._object.mesh())

    def __eq__(self, other) -> bool:
        return isinstance(other, TensorLayout) and self._object.id() == other._object.id()

    def __hash__(self) -> int:
        return hash(self._object.id())

    def __str__(self) -> str:
        return str(self._object.__str__())

    def __repr__(self) -> str:
        return f"TensorLayout({self._object.describe()})"
