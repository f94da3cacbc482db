"""Whole modules, and single variables, laid out by their paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any

import torch

from . import first_rank
from .arguments import needed
from .axes import Axes
from .filling import fill, note_unfilled, owners_to_fill
from .held import held
from .layout_map import LayoutMap
from .maps import active_layouts, note_map
from .mesh import DeviceMesh, TensorLayout, adopt_world
from .progress import progress
from .slots import Slot, module_type, slots_of
from .strings import checked
from .tensors import as_kind, differ, is_dtensor

_PROGRESS_FROM = 256 << 20  # bytes of variables from which a terminal shows a progress bar
# What ranks must agree on (csrc/module/variables.h).
_WHAT = "distribute_module: the module's variables (paths, shapes, dtypes, devices, layouts, gradients)"


def tag(variable: torch.Tensor, path: str, module_type: str = "") -> torch.Tensor:
    """The variable laid out as the active map says (replicated where no entry matches), carrying its path.

    A leaf gives a leaf that requires grad as it does, a Parameter a Parameter; anything else is laid out
    differentiably. A sharded variable is redistributed.

    Raises:
        ValueError: no map is active, several entries match, or the entry is for another number of dimensions.
    """
    adopt_world()
    try:
        needed(variable, torch.Tensor, "tag: variable")
        path, module_type = checked(path, "tag: path"), checked(module_type, "tag: module type")
    except ValueError as error:
        differ(str(error), torch.ops.weft.compared_by("tag"))
        raise
    return as_kind(torch.ops.weft.tag(variable, path, module_type), variable)


def distribute_module(
    module: torch.nn.Module,
    layout_map: LayoutMap | Mapping[str, Axes | TensorLayout] | None = None,
    *,
    mesh: DeviceMesh | None = None,
    param_init_fn: Callable[[torch.nn.Module], Any] | None = None,
) -> torch.nn.Module:
    """Tags and shards every parameter and buffer by its path, in place, and returns the module.

    The Parameter objects stay the same ones: optimizers made before, hooks, tied weights and `requires_grad` keep
    working, and gradients that are there are laid out too. Variables no entry matches are replicated over the mesh.
    Variables on the meta device are made shard by shard, the full tensor never exists on one rank; then each module
    that owns one is initialised by `param_init_fn(submodule)`, else by its `reset_parameters()`, else by the
    `_init_weights` of a transformers model. Random initialisation gives the values it would give unsharded, whatever
    the layout.

    From then on a variable keeps its layout and path, whatever is put in its place: `p.data = value` and `p.set_`, also
    of another shape (`resize_token_embeddings`), conversions (`.to`, `to_empty`), `load_state_dict(assign=True)`,
    parametrizations, a Parameter, buffer or module assigned where a sharded one was. A plain value is laid out, in
    memory of its own; a plain Parameter becomes sharded and stays the same object. A sharded value is shared with the
    variable: brought to its layout, unless it is another variable's data or a part of a larger tensor, which is shared
    as it lies. Of other dimensions than the layout is for, a value is replicated until one has them again. A plain
    Parameter that is in use by a live graph is refused with a ValueError that names the path. To lay a variable out
    otherwise: distribute the module again.

    The first rank warns, once, of entries of the map that match nothing, with what they nearly match, and of large
    variables that no entry matches; an entry with None for each dimension says that one is to be whole.

    Args:
        module: any module; a scripted one too.
        layout_map: default: the active map (`register_layouts`). With `mesh`, a plain dict of patterns will do.
        mesh: where to replicate when there is no map at all.
        param_init_fn: for modules on the meta device; `lambda m: None` where a checkpoint is loaded afterwards. Buffers
            that are not persistent, which no checkpoint holds, are then computed by the module's own initialiser. What
            nothing has filled by then (`weft.unfilled_paths` names it) makes the first forward pass an error.

    Raises:
        ValueError: before anything is changed: no map; several entries match a path; an entry for another number of
            dimensions; tied variables with different layouts; variables that differ in shape or dtype between ranks;
            a variable in use by a live graph; a DTensor; a meta module without a way to initialise it. At the end:
            buffers that are not persistent and that nothing has given a value.
    """
    adopt_world()
    variables: Any = None
    try:
        try:
            needed(module, torch.nn.Module, "distribute_module: module")
            needed(mesh, (DeviceMesh, NoneType), "distribute_module: mesh")
            layouts = _resolve(layout_map, mesh)
            mesh = layouts.device_mesh
            slots = list(slots_of(module))
            _check_plain(slots)
            _check_free(module, slots)
            simulated = mesh.simulated_rank is not None  # where there are no values
            made_on_meta = [] if simulated else owners_to_fill(module, slots, param_init_fn)
            variables = torch.classes.weft.Variables(layouts._object)
            numbers = [
                variables.add(
                    slot.tensor,
                    checked(slot.path, "distribute_module: path"),
                    checked(module_type(slot.owner), "distribute_module: module type"),
                )
                for slot in slots
            ]
        except ValueError as error:
            differ(str(error), _WHAT, mesh)
            raise
        variables.check_ranks()
    except Exception:
        variables = None  # who keeps the error keeps this frame: the next call would find the variables in use
        raise
    # The same on all ranks, of which one tells it. What a map of weft.layouts leaves whole is in its own notes.
    for text in (variables.differing_values(), variables.left_out(layouts._plan is not None)):
        if text:
            first_rank.warn(text)
    _replace(slots, numbers, variables, to_fill=not simulated)
    _replace_in_scripted(module, slots)
    note_map(module, layouts)
    fill(module, made_on_meta, param_init_fn)
    return module


def _resolve(layout_map: Any, mesh: DeviceMesh | None) -> LayoutMap:
    if layout_map is None:
        layout_map = active_layouts()
    if layout_map is None:
        if mesh is None:
            raise ValueError(
                "[W044] distribute_module: no layout map given and none registered; pass one, or a mesh to replicate "
                "over"
            )
        return LayoutMap(mesh)
    if isinstance(layout_map, LayoutMap):
        if mesh is not None and layout_map.device_mesh != mesh:
            raise ValueError(f"[W031] distribute_module: the layout map is on {layout_map.device_mesh}, not on {mesh}")
        return layout_map
    if mesh is None:
        raise ValueError("[W044] distribute_module: a plain dict of layouts needs a mesh as well")
    return LayoutMap(mesh, needed(layout_map, Mapping, "distribute_module: layout_map"))


def _check_plain(slots: Iterable[Slot]) -> None:
    """A DTensor cannot become another class in place, and what distributed it has hooks of its own on the module."""
    found = {s.path: s.tensor for s in slots if is_dtensor(s.tensor)}
    if found:
        path, tensor = next(iter(found.items()))
        raise ValueError(
            f"[W053] distribute_module: {path}{f' and {len(found) - 1} others' if len(found) > 1 else ''} is a DTensor "
            f"{getattr(tensor, 'placements', ())}: the module is distributed already, by torch's means. Distribute one "
            "that is not, then module.load_state_dict({k: weft.from_dtensor(v, mesh) for k, v in state.items()})"
        )


def _check_free(module: torch.nn.Module, slots: Iterable[Slot]) -> None:
    first = {id(s.tensor): s for s in reversed(list(slots)) if not s.scripted}
    in_use = held(s.tensor for s in reversed(first.values()))
    if in_use:
        raise ValueError(
            "[W052] distribute_module: in use by a live autograd graph or by C++ code: "
            f"{_some([first[id(t)].path for t in in_use])}; {_way_out(_computed_attributes(module))}"
        )


def _computed_attributes(module: torch.nn.Module) -> list[str]:
    """Paths of tensors that modules keep beside their variables, with the graph that they were computed by."""
    return [
        f"{path}.{name}" if path else name
        for path, owner in module.named_modules()
        for name, value in vars(owner).items()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    ]


def _way_out(computed: list[str]) -> str:
    if not computed:
        return "distribute before the forward pass, or let go of its results"
    return (
        f"{_some(computed)}, computed from variables and kept as an attribute, may hold them: compute it by a "
        "parametrization (torch.nn.utils.parametrizations.weight_norm or .spectral_norm in place of those of "
        "torch.nn.utils), or `del` the attribute before, where a hook sets it again in the forward pass"
    )


def _some(paths: list[str]) -> str:
    return f"{', '.join(paths[:5])}{' and others' if len(paths) > 5 else ''}"


def _replace(slots: list[Slot], numbers: list[int], variables: Any, *, to_fill: bool) -> None:
    """Each variable laid out, once, and put where it was."""
    taken: dict[int, torch.Tensor] = {}
    is_long = sum(slot.tensor.numel() * slot.tensor.element_size() for slot in slots) >= _PROGRESS_FROM
    with progress("laying out variables", len(slots), is_long) as advance:
        for slot, number in zip(slots, numbers, strict=True):
            first = number not in taken
            was_meta = slot.tensor.is_meta and not torch.ops.weft.is_sharded(slot.tensor)
            if first:
                taken[number] = variables.take(number)
            if slot.scripted:
                slot.owner._c.setattr(slot.name, taken[number])
            elif first:
                swap_impl(slot.tensor, taken[number])
                if was_meta and to_fill:
                    note_unfilled(slot.tensor)
                taken[number] = slot.tensor  # nothing holds the plain value any longer
            advance()


def _replace_in_scripted(module: torch.nn.Module, slots: list[Slot]) -> None:
    """Lists and the like in which scripted modules keep variables once more."""
    scripted = [slot for slot in slots if slot.scripted]
    before = [slot.tensor for slot in scripted]
    made = [slot.owner._c.getattr(slot.name) for slot in scripted]
    for owner in module.modules() if scripted else ():
        if isinstance(owner, torch.jit.ScriptModule):
            torch.ops.weft._replace_in_attributes(owner, before, made)


def swap_impl(old: torch.Tensor, new: torch.Tensor) -> None:
    """Makes `old` the tensor that `new` is; the object, its attributes and the user's hooks stay."""
    hooks, after = old._backward_hooks, old._post_accumulate_grad_hooks
    torch._C._swap_tensor_impl(old, new)
    # The hooks' dicts belong to the object, their registration to the implementation.
    if hooks is not None:
        old._backward_hooks = hooks
    if after is not None:
        old._post_accumulate_grad_hooks = after
