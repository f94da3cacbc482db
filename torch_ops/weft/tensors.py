"""Making, reading and laying out sharded tensors. Every rank of the mesh makes the same calls."""

from __future__ import annotations

import copy
import dataclasses
import sys
import zlib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from .arguments import needed
from .axes import Axes
from .known_to_dynamo import recorded_as_sharded
from .mesh import DeviceMesh, TensorLayout, adopt_world

# The backend's bit, whatever kind of tensor it is.
_KEY = (
    torch._C.DispatchKeySet(torch._C.DispatchKey.PrivateUse3).raw_repr()
    & torch._C.DispatchKeySet(torch._C.DispatchKey.SparsePrivateUse3).raw_repr()
)
_CORE = frozenset((torch.Tensor, torch.nn.Parameter))  # the types of most tensors


def differ(error: str, what: str, mesh: Any = None) -> None:
    """An error that a rank must not raise alone, while the others wait in the check of `what`: it goes there too.

    Args:
        mesh: of the ranks that compare; all of the world where it is no mesh, which may be the error.

    Raises:
        ValueError: where not all ranks have this error.
    """
    torch.ops.weft.check_same(list(error.encode()), what, mesh._object if isinstance(mesh, DeviceMesh) else None)


def _laid_out_as(layout: TensorLayout | Axes, mesh: DeviceMesh | None, function: str) -> TensorLayout:
    """The layout that all ranks are about to compare in that function."""
    try:
        return as_layout(layout, mesh)
    except ValueError as error:
        differ(str(error), torch.ops.weft.compared_by(function), mesh)
        raise


def as_layout(layout: TensorLayout | Axes, mesh: DeviceMesh | None) -> TensorLayout:
    if isinstance(layout, DeviceMesh):  # DTensor's order
        raise ValueError(f"[W038] the layout comes first, then the mesh; got {layout} as the layout")
    if mesh is not None and not isinstance(mesh, DeviceMesh):
        raise ValueError(
            f"[W038] the mesh must be a weft.DeviceMesh, not {type(mesh).__name__}; DeviceMesh.from_torch makes one"
        )
    if isinstance(layout, TensorLayout):
        if mesh is not None and layout.device_mesh != mesh:
            raise ValueError(f"[W031] the layout is on {layout.device_mesh}, but {mesh} is given as well")
        return layout
    if mesh is None:
        raise ValueError("[W030] axes alone make no layout: pass a weft.TensorLayout, or the mesh as well")
    return TensorLayout(layout, mesh)


def distribute_tensor(
    tensor: torch.Tensor, layout: TensorLayout | Axes, device_mesh: DeviceMesh | None = None
) -> torch.Tensor:
    """The tensor laid out over a mesh. Differentiable.

    A plain tensor is taken to be the same on all ranks: each keeps its part and nothing moves. A sharded tensor is
    redistributed, to another mesh by way of the whole value on every rank. So is torch's DTensor; where its placements
    say what the layout does, its local memory is shared. Shape, dtype and device stay.

    Args:
        tensor: of any shape.
        layout: one entry per dimension: a TensorLayout, or its axes with `device_mesh`.

    Raises:
        ValueError: the layout has another rank than the tensor, or the ranks pass different tensors (shape, strides,
            dtype, requires_grad) or layouts; a sharded tensor's are compared when it is first sent from its layout to
            that one, which costs a small collective. A DTensor lies on a mesh of another shape, or as no TensorLayout
            can tell; a tensor of another subclass that has no memory of its own.
    """
    adopt_world()
    tensor = _as_tensor(tensor, "distribute_tensor")
    layout = _laid_out_as(layout, device_mesh, "distribute_tensor")
    if is_dtensor(tensor):
        tensor = shards_of(tensor, layout.device_mesh, "distribute_tensor")
    return torch.ops.weft._distribute_tensor(tensor, layout._id)


def distribute_variable(
    variable: torch.Tensor, layout: TensorLayout | Axes, device_mesh: DeviceMesh | None = None
) -> torch.Tensor:
    """A variable's value in that layout, as a leaf that requires grad as `variable` does (a Parameter stays one)."""
    adopt_world()
    tensor = _as_tensor(variable, "distribute_variable")
    layout = _laid_out_as(layout, device_mesh, "distribute_variable")
    if is_dtensor(tensor):
        shards = shards_of(tensor.detach(), layout.device_mesh, "distribute_variable")
        tensor = shards.requires_grad_(tensor.requires_grad)
    return as_kind(torch.ops.weft.distribute_variable(tensor, layout._object), variable)


def _as_tensor(value: Any, function: str) -> torch.Tensor:
    """A tensor of numbers, lists or arrays of them too, which all ranks are about to compare in that function."""
    if isinstance(value, torch.Tensor):
        return value
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        error = f"[W038] {function}: the tensor must be torch.Tensor, not {type(value).__name__}"
    differ(error, torch.ops.weft.compared_by(function))
    raise ValueError(error)


def is_dtensor(x: Any) -> bool:
    """Whether it is one of torch.distributed's; where none can be, that module stays unloaded."""
    if type(x) in _CORE:
        return False
    cls = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return cls is not None and isinstance(x, cls)


def shards_of(dtensor: Any, mesh: DeviceMesh, function: str) -> torch.Tensor:
    """A DTensor as a sharded tensor of the same local memory. Differentiable.

    Raises:
        ValueError: on all ranks: it lies on a mesh of another shape or other ranks, or a placement has no counterpart.
    """
    theirs = dtensor.device_mesh
    try:
        if tuple(theirs.mesh.shape) != mesh.shape or theirs.mesh.flatten().tolist() != list(mesh.ranks):
            raise ValueError(
                f"[W031] {function}: the DTensor lies on {theirs}, whose axes are not those of {mesh}; pass its "
                "full_tensor() or lay it out over weft.DeviceMesh.from_torch(dtensor.device_mesh)"
            )
        layout = TensorLayout.from_placements(dtensor.placements, mesh, dtensor.dim())
    except ValueError as error:
        differ(str(error), torch.ops.weft.compared_by("from_local"), mesh)
        raise
    return from_local(dtensor.to_local(), layout, dtensor.shape)


def as_kind(out: torch.Tensor, like: Any) -> torch.Tensor:
    """A Parameter where `like` is one."""
    if isinstance(like, torch.nn.Parameter) and not isinstance(out, torch.nn.Parameter):
        return torch.nn.Parameter(out.detach(), like.requires_grad)
    return out


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The whole value as a plain tensor on every rank. Differentiable; a collective, so every rank calls it."""
    return torch.ops.weft.full_tensor(needed(tensor, torch.Tensor, "full_tensor: tensor"))


def local_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part as a plain tensor that shares the shard's memory; pending parts as they are.

    Needs no other rank, unless the value is still on its way (a gradient, a view of rows of other ranks): then every
    rank calls it.
    """
    return torch.ops.weft.local_tensor(needed(tensor, torch.Tensor, "local_tensor: tensor"))


def from_local(
    local: torch.Tensor,
    layout: TensorLayout | Axes,
    shape: Sequence[int] | None = None,
    device_mesh: DeviceMesh | None = None,
) -> torch.Tensor:
    """A sharded tensor from each rank's part, as of a batch that every rank loaded its share of.

    Args:
        local: this rank's part. Its memory is shared where it is dense and its dimensions lie as those of the part of
            the mesh's first rank, which tells the global strides; else it is copied.
        layout: how the parts make up the global tensor.
        shape: the global one; default: told by the parts, which then must be as torch.chunk cuts.

    Raises:
        ValueError: on all ranks, where the parts do not make up a global tensor.
    """
    adopt_world()
    shape = list(shape) if shape is not None else None
    try:
        if is_dtensor(needed(local, torch.Tensor, "from_local: local")):
            raise ValueError(
                "[W035] from_local: the part is a DTensor; pass its to_local(), or the DTensor to weft.from_dtensor"
            )
    except ValueError as error:
        differ(str(error), torch.ops.weft.compared_by("from_local"), device_mesh)
        raise
    return torch.ops.weft.from_local(local, _laid_out_as(layout, device_mesh, "from_local")._object, shape)


def is_sharded(tensor: Any) -> bool:
    """Whether it is a tensor with a layout, a replicated or pending one included; False for anything else.

    Without a call of the dispatcher, in which modes and subclasses of other libraries have a say.
    """
    if torch.compiler.is_dynamo_compiling():
        return isinstance(tensor, torch.Tensor) and recorded_as_sharded(tensor)
    return isinstance(tensor, torch.Tensor) and bool(torch._C._dispatch_keys(tensor).raw_repr() & _KEY)


def value_of(tensor: torch.Tensor) -> torch.Tensor:
    """The whole value of a sharded tensor, which is a collective; a plain tensor itself. Neither needs a gradient."""
    value = tensor.detach()
    return full_tensor(value) if is_sharded(value) else value


def layout_of(tensor: torch.Tensor) -> TensorLayout:
    """Raises ValueError for a plain tensor."""
    return TensorLayout._wrap(torch.ops.weft.layout_of(needed(tensor, torch.Tensor, "layout_of: tensor")))


def path_of(tensor: torch.Tensor) -> str:
    """The variable path that the tensor carries; empty: none."""
    return torch.ops.weft.path_of(needed(tensor, torch.Tensor, "path_of: tensor"))


def shard_batch(batch: Any, mesh: DeviceMesh, axis: str | Sequence[str], dim: int = 0) -> Any:
    """The batch with its tensors split over `axis` along `dim`.

    Args:
        batch: a tensor, or any nesting of mappings, sequences and dataclasses with tensors in them, the same on every
            rank. Tensors with too few dimensions, and anything else, stay as they are.
        axis: mesh axis, or several (major first).

    Where every rank loaded a share of its own, use `from_local` on each tensor.
    """
    tensors = tensors_in(batch)
    if not isinstance(batch, torch.Tensor):  # each is checked by itself, but that all ranks have as many is not
        what = "shard_batch: the tensors (number, shapes, dtypes) and the axis"
        facts = ["number of tensors", str(len(tensors)), "axis", f"{axis!r} along dimension {dim}"]
        for i, t in enumerate(tensors):
            facts += [f"tensor {i}", f"{t.dtype} of shape {tuple(t.shape)}"]
        words = [zlib.crc32(fact.encode()) for fact in facts]
        torch.ops.weft.check_same(words, what, mesh._object, False, facts)

    def split(t: torch.Tensor) -> torch.Tensor:
        if not -t.dim() <= dim < t.dim():
            return t
        axes: list[Any] = [None] * t.dim()
        axes[dim] = axis
        return distribute_tensor(t, axes, mesh)

    return map_tensors(batch, split)


def tensors_in(values: Any) -> list[torch.Tensor]:
    """The tensors of any nesting."""
    found: list[torch.Tensor] = []

    def keep(t: torch.Tensor) -> torch.Tensor:
        found.append(t)
        return t

    map_tensors(values, keep)
    return found


def map_tensors(batch: Any, f: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nesting of mappings, sequences and dataclasses with `f` of each tensor."""
    again = lambda x: map_tensors(x, f)  # noqa: E731
    if isinstance(batch, torch.Tensor):
        return f(batch)
    if isinstance(batch, MutableMapping):
        out = copy.copy(batch)
        for key in batch:
            out[key] = again(batch[key])
        return out
    if isinstance(batch, Mapping):
        return {key: again(value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(again, batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map(again, batch))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {f.name: again(getattr(batch, f.name)) for f in dataclasses.fields(batch) if f.init}
        return dataclasses.replace(batch, **fields)
    return batch
