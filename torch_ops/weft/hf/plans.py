"""A transformers model's own tensor-parallel plan as a LayoutMap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..layout_map import LayoutMap
from ..layouts.plan import Plan, made_map, noted, parameters_of, parts_along, split_along
from ..mesh import DeviceMesh
from ..strings import shown
from .styles import STYLES

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")  # a word of a path that is a number


def layouts(
    model: Any,
    mesh: DeviceMesh,
    axis: str | Sequence[str] | None = None,
    *,
    plan: Any = None,
    expert_axis: str | Sequence[str] | None = None,
) -> LayoutMap:
    """Layouts that the model's own plan asks for (`base_model_tp_plan`, `_tp_plan`), over `axis`.

        layouts = weft.hf.layouts(model, mesh)
        layouts = weft.layouts.fsdp(model, mesh, "data") | weft.hf.layouts(model, mesh)

    A plan's style tells which dimension of a parameter is split; what has to move between layers, whether a size
    divides or not, is found as the model runs. What the plan does not name stays whole.

    Args:
        model: a transformers model (on the meta device too), one of its classes, or a configuration. A class is taken
            as its default configuration makes it, a configuration as the class that it names first in `architectures`,
            else as its base model; the map then has the patterns alone, for any model of that kind.
        mesh: the mesh.
        axis: a mesh axis, or several (major first); default: the one named "model", else the only one.
        plan: entries pattern -> style that are added to the model's own, or a `DistributedConfig` with them; default:
            the model configuration's `distributed_config`.
        expert_axis: split experts by the model's expert-parallel plan over this axis, which then wins over the other
            plan; default: where `ep_size` of a `DistributedConfig` is above 1, `axis`.

    Returns:
        A `LayoutMap` as `weft.layouts` makes it.

    Raises:
        ValueError: no transformers model; it has no plan; a style is unknown (named with its pattern and the model's
            class); no such axis.
    """
    axes, _ = parts_along(mesh, _axis_of(mesh) if axis is None else axis, "hf.layouts")
    model, is_itself = _model_of(model)
    variables = parameters_of(model, "hf.layouts")
    config = getattr(model, "config", None)
    if plan is None:
        plan = getattr(config, "distributed_config", None)
    dense = {**_collected(model, "_tp_plan", "base_model_tp_plan"), **_entries(plan, "tp_plan")}
    expert_axes: tuple[str, ...] = ()
    if expert_axis is not None:
        expert_axes, _ = parts_along(mesh, expert_axis, "hf.layouts")
    elif (getattr(plan, "ep_size", None) or 1) > 1:
        expert_axes = axes
    experts = (
        {**_collected(model, "_ep_plan", "base_model_ep_plan"), **_entries(plan, "ep_plan")} if expert_axes else {}
    )
    kind = type(model).__name__
    if expert_axes and not experts:
        raise ValueError(f"[W140] hf.layouts: {kind} has no expert-parallel plan; leave expert_axis out")
    if not dense and not experts:
        raise ValueError(f"[W140] hf.layouts: {kind} has no plan of its own; use weft.layouts.megatron, or pass plan=…")
    _check_styles({**dense, **experts}, kind)

    owners = dict(model.named_modules(remove_duplicate=False))
    splits: dict[str, tuple] = {}
    reasons: dict[str, str] = {}
    found: dict[str, tuple[int | None, tuple[str, ...], str]] = {}  # by a parameter's first path
    for path, v in variables.items():
        style, over = _style_of(path, experts), expert_axes
        if style is None and not _is_inside(path, experts):
            style, over = _style_of(path, dense), axes
        if style is None:
            continue
        owner, _, leaf = path.rpartition(".")
        dim = STYLES[style](owners[owner], leaf, len(v.shape))
        if v.first not in found or found[v.first][0] is None:
            found[v.first] = dim, over, style
    for path, v in variables.items():
        dim, over, style = found.get(v.first, (None, axes, ""))
        if dim is not None:
            splits[path] = split_along(v.shape, dim, over)
        elif len(v.shape) > 1 and v.first == path:
            reasons[path] = f"the plan says {style}" if style else "not in the plan"
    made = made_map(mesh, Plan(variables, notes=noted(", ".join(axes), reasons, variables)), splits)
    return made if is_itself else LayoutMap(mesh, dict(made.rules()))


def _axis_of(mesh: Any) -> str | tuple[str, ...]:
    names = mesh.axis_names if isinstance(mesh, DeviceMesh) else ()
    if "model" in names or len(names) == 1:
        return "model" if "model" in names else names[0]
    if names:
        raise ValueError(f"[W025] hf.layouts: {mesh} has no axis named 'model': say over which axis the plan splits")
    return ()


def _model_of(model: Any) -> tuple[torch.nn.Module, bool]:
    """The model, made on the meta device where a class or a configuration is given, and whether it was given itself."""
    if isinstance(model, torch.nn.Module):
        return model, True
    import transformers

    cls, config = model, None
    if isinstance(model, transformers.PreTrainedConfig):
        config = model
        name = next(iter(config.architectures or ()), None)
        cls = getattr(transformers, name, None) if name else None
        if cls is None:
            cls = transformers.MODEL_MAPPING.get(type(config), None)
            cls = cls[0] if isinstance(cls, (list, tuple)) else cls
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise ValueError(
            "[W038] hf.layouts: a transformers model, a class of models or a configuration is needed, got "
            f"{shown(model)}"
        )
    with torch.device("meta"):
        return cls(config if config is not None else cls.config_class()), False  # type: ignore[attr-defined]


def _collected(model: torch.nn.Module, name: str, of_config: str) -> dict[str, str]:
    """The model's plan by patterns over its own paths: those of its modules, prefixed; the outermost counts."""
    out: dict[str, str] = {}
    for prefix, module in reversed(list(model.named_modules(remove_duplicate=False))):
        plan = dict(getattr(module, name, None) or {})
        if prefix == "" and not plan and getattr(module, "base_model", None) is module:  # made without post_init()
            plan = dict(getattr(getattr(module, "config", None), of_config, None) or {})
        dotted = f"{_NUMBER.sub('*', prefix)}." if prefix else ""
        out.update({f"{dotted}{pattern}": style for pattern, style in plan.items()})
    return out


def _entries(plan: Any, name: str) -> Mapping[str, str]:
    """What is added to the model's own plan."""
    if isinstance(plan, Mapping) and name not in plan:
        return plan if name == "tp_plan" and all(isinstance(style, str) for style in plan.values()) else {}
    found = plan.get(name) if isinstance(plan, Mapping) else getattr(plan, name, None)
    return found if isinstance(found, Mapping) else {}


def _check_styles(plan: Mapping[str, str], kind: str) -> None:
    for pattern, style in plan.items():
        if style not in STYLES:
            raise ValueError(
                f"[W140] hf.layouts: the plan of {kind} gives {shown(pattern)} the style {shown(style)}, which Weft "
                "does not know; pass plan={pattern: style} with a style that splits alike, or set those layouts by hand"
            )


def _style_of(path: str, plan: Mapping[str, str]) -> str | None:
    """A parameter's own entry, else that of the module that owns it."""
    generic = _NUMBER.sub("*", path)
    return plan.get(generic, plan.get(generic.rpartition(".")[0]))


def _is_inside(path: str, plan: Mapping[str, str]) -> bool:
    """Whether the path is below a module that the plan names."""
    words = _NUMBER.sub("*", path).split(".")
    return any(".".join(words[:n]) in plan for n in range(1, len(words)))
