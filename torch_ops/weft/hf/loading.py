"""Checkpoints of transformers read straight into shards: the library's own loader, whose model is laid out before it
loads, and whose tensors are each rank's parts."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .. import first_rank
from ..after_import import after_import
from ..in_step import meet, telling
from ..layout_map import LayoutMap
from ..layouts import fsdp
from ..maps import active_layouts
from ..mesh import DeviceMesh, TensorLayout, adopt_world
from ..module import distribute_module
from ..strings import shown
from ..tensors import is_sharded, layout_of
from .plans import layouts as layouts_of_plan
from .reading import Part, open_files, replaced, shape_of, spread

_WHAT = "from_pretrained"
_wanted: Callable[[torch.nn.Module], LayoutMap] | None = None  # of the from_pretrained that is under way


def from_pretrained(
    cls: Any,
    folder: str | os.PathLike | None,
    *args: Any,
    mesh: DeviceMesh | None = None,
    layouts: str | LayoutMap | Mapping[str, Any] | Callable[[torch.nn.Module], LayoutMap] = "plan",
    strict: bool = True,
    **kwargs: Any,
) -> torch.nn.Module:
    """`cls.from_pretrained(folder, …)` straight into shards: no full variable is ever on one rank.

        model = weft.hf.from_pretrained(AutoModelForCausalLM, folder, mesh=mesh, layouts="plan", dtype=torch.bfloat16)

    The model is made on the meta device and laid out; each rank reads its own parts of the safetensors files (one, or
    several with an index), renames, converts and ties as transformers does, and buffers that no file holds are computed
    by the model. It keeps its layouts afterwards, as after `distribute_module`. Every rank calls it.

    Args:
        cls: a class of models, or of Auto models.
        folder: what `cls.from_pretrained` takes; None: the tensors are those of `state_dict=`, for a `config=`.
        mesh: default: the layout map's; without either the model is a plain one.
        layouts: "plan", the model's own (`weft.hf.layouts`); "fsdp", every parameter over the axis "data", or the only
            one; a LayoutMap, a dict of patterns, or a function of the model on the meta device that gives one.
        strict: False: variables that the checkpoint has not are initialised, and what it has too much is left out, with
            transformers' own warning.
        *args: for `cls.from_pretrained`.
        **kwargs: for `cls.from_pretrained`: `dtype`, `config`, `key_mapping`, `attn_implementation`, ….

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: on all ranks: keys are missing, not expected or of another shape (all are named); a quantized
            checkpoint, or a `device_map`; what `layouts` gives is no map.
        RuntimeError: transformers' own, where a conversion fails.
    """
    adopt_world()
    make = _maker(layouts, mesh)
    if make is not None and kwargs.get("device_map") is not None:
        raise ValueError("[W141] hf.from_pretrained: the mesh tells where the model is: leave device_map out")
    info = kwargs.pop("output_loading_info", False)
    if strict:
        kwargs["ignore_mismatched_sizes"] = True  # they are named below
    global _wanted
    before, _wanted = _wanted, make
    try:
        model, found = cls.from_pretrained(folder, *args, output_loading_info=True, **kwargs)
    finally:
        _wanted = before
    if strict:
        _check_keys(found, "state_dict" if folder is None else shown(os.fspath(folder)), type(model).__name__)
    return (model, found) if info else model  # type: ignore[return-value]


def _check_keys(found: Mapping[str, Any], source: str, kind: str) -> None:
    problems = [
        f"{len(found[name])} keys are {what}: {', '.join(sorted(map(str, found[name])))}"
        for name, what in (("missing_keys", "missing"), ("unexpected_keys", "not expected"))
        if found[name]
    ]
    if other := sorted(found["mismatched_keys"]):
        shapes = (f"{key} is {tuple(has)}, not {tuple(should)}" for key, has, should in other)
        problems.append(f"{len(other)} keys have another shape: {', '.join(shapes)}")
    if problems:
        raise ValueError(
            f"[W113] hf.from_pretrained: {source} is no checkpoint of {kind}: {'; '.join(problems)}; "
            "strict=False has transformers initialise what is missing and leave out what is too much"
        )


def _maker(layouts: Any, mesh: DeviceMesh | None) -> Callable[[torch.nn.Module], LayoutMap] | None:
    if isinstance(layouts, LayoutMap):
        if mesh is not None and layouts.device_mesh != mesh:
            raise ValueError(f"[W031] hf.from_pretrained: the layout map is on {layouts.device_mesh}, not on {mesh}")
        return lambda model: layouts
    if mesh is None:
        return None
    if isinstance(layouts, Mapping):
        return lambda model: LayoutMap(mesh, layouts)
    if layouts == "plan":
        return lambda model: layouts_of_plan(model, mesh)
    if layouts == "fsdp":
        names = mesh.axis_names
        axis = "data" if "data" in names else names[0] if len(names) == 1 else None
        if axis is None:
            raise ValueError(
                f"[W025] hf.from_pretrained: {mesh} has no axis named 'data'; pass layouts=weft.layouts.fsdp(…)"
            )
        return lambda model: fsdp(model, mesh, axis)
    if not callable(layouts):
        raise ValueError(
            "[W038] hf.from_pretrained: layouts is 'plan', 'fsdp', a LayoutMap, a dict or a function, not "
            f"{shown(layouts)}"
        )
    return layouts


def install() -> None:
    """Puts the layouts into transformers' loader, now or once it is imported."""
    after_import("transformers.modeling_utils", _install)


def _install(modeling: Any) -> None:
    cls = modeling.PreTrainedModel
    load = getattr(cls, "_load_pretrained_model", None)
    try:
        from transformers import core_model_loading
    except ImportError:
        core_model_loading = None
    if load is None or not hasattr(core_model_loading, "set_param_for_module"):
        _warn_of_other_release(cls)
        return

    @functools.wraps(load)
    def load_sharded(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        make = _wanted
        active = active_layouts() if make is None else None
        laid_out = any(map(is_sharded, model.parameters()))  # of which an adapter is loaded
        to_fill = make is not None or active is not None and any(p.is_meta for p in model.parameters())
        if laid_out or not to_fill:
            return load(model, state_dict, checkpoint_files, load_config, *args, **kwargs)
        problem = _problem(load_config)
        if problem and make is None:
            first_rank.warn(
                f"[W142] {type(model).__name__}.from_pretrained: the layouts that are registered are not applied: "
                f"{problem}",
                stacklevel=3,
            )
            return load(model, state_dict, checkpoint_files, load_config, *args, **kwargs)
        if problem:
            raise ValueError(f"[W141] hf.from_pretrained: {problem}")
        layouts = make(model) if make is not None else active
        if not isinstance(layouts, LayoutMap):
            raise ValueError(f"[W038] hf.from_pretrained: layouts gave {shown(layouts)}, not a LayoutMap")
        _put_on_meta(model)
        distribute_module(model, layouts, param_init_fn=lambda module: None)
        mesh = layouts.device_mesh
        with telling(_WHAT), contextlib.ExitStack() as closed:
            sources = state_dict
            if sources is None and checkpoint_files and all(f.endswith(".safetensors") for f in checkpoint_files):
                sources = open_files(checkpoint_files, closed)
            elif sources is None:
                sources = {}
                for file in checkpoint_files or ():
                    sources.update(modeling.load_state_dict(file))
            parts = _parts(model, sources, load_config, core_model_loading)
            closed.enter_context(_one_at_a_time())
            closed.enter_context(replaced(core_model_loading, "set_param_for_module", _setter(core_model_loading)))
            loaded = load(model, parts, None, load_config, *args, **kwargs)
        meet(_WHAT, mesh)
        return loaded

    move = cls._move_missing_keys_from_meta_to_device

    @functools.wraps(move)
    def move_missing(self: Any, missing_keys: Any, *args: Any, **kwargs: Any) -> None:
        if not any(map(is_sharded, self.parameters())):
            move(self, missing_keys, *args, **kwargs)
            return
        for key in missing_keys - self.all_tied_weights_keys.keys():  # which have memory already
            _as_made_anew(self.get_parameter_or_buffer(key))

    cls._load_pretrained_model = staticmethod(load_sharded)
    cls._move_missing_keys_from_meta_to_device = move_missing


def _warn_of_other_release(cls: Any) -> None:
    """Under registered layouts a loader that Weft does not know gives a plain model: it is said."""
    load = cls.from_pretrained.__func__

    @functools.wraps(load)
    def from_pretrained(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if _wanted is not None or active_layouts() is not None:
            first_rank.warn(
                "[W143] weft does not know the loader of this transformers: the model is a plain one; pass it to "
                "weft.distribute_module",
                stacklevel=2,
            )
        return load(kind, *args, **kwargs)

    cls.from_pretrained = classmethod(from_pretrained)


def _problem(load_config: Any) -> str:
    """Why a checkpoint cannot be loaded into shards; empty: it can."""
    if load_config.hf_quantizer is not None:
        return "quantized weights are never sharded; load the checkpoint without quantization_config"
    if load_config.device_map is not None:
        return "the mesh tells where the model is; leave device_map out"
    if getattr(load_config, "device_mesh", None) is not None:
        return "distributed_config shards by transformers' own means; leave it out"
    return ""


def _put_on_meta(model: torch.nn.Module) -> None:
    """Parameters that a constructor made for real, as torch.FloatTensor does: they are read like the others."""
    made: dict[int, tuple[torch.Tensor, torch.nn.Parameter]] = {}  # old ones too, as their numbers tell them apart
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None and not p.is_meta:
                _, module._parameters[name] = made.setdefault(
                    id(p), (p, torch.nn.Parameter(p.detach().to("meta"), p.requires_grad))
                )


def _parts(model: Any, sources: Mapping[str, Any], load_config: Any, core: Any) -> dict[str, Part]:
    """Each tensor of the checkpoint, to be read in the layout of the variable that it becomes."""
    mapping = load_config.weight_mapping or []
    renamings = [m for m in mapping if isinstance(m, core.WeightRenaming)]
    converters = [m for m in mapping if isinstance(m, core.WeightConverter)]
    targets = model.state_dict()
    some = next(t for t in targets.values() if is_sharded(t))
    mesh = layout_of(some).device_mesh
    parts = {}
    for name, source in sources.items():
        key, converted = core.rename_source_key(name, renamings, converters, model.base_model_prefix, targets)
        target, shape = targets.get(key, targets.get(name)), shape_of(source)
        if target is None or not is_sharded(target):
            layout = TensorLayout.replicated(mesh, len(shape))
        elif converted is None and target.dim() == len(shape):
            layout = TensorLayout(layout_of(target).axes, mesh)
        else:
            layout = TensorLayout(spread(layout_of(target).axes, shape), mesh)
        parts[name] = Part(source, layout)
    return parts


def _setter(core: Any) -> Callable:
    """What takes the place of `set_param_for_module`: a variable is written where it lies, in its layout."""
    original = core.set_param_for_module

    @torch.no_grad()
    def set_param(model: Any, target: str, value: torch.Tensor, info: Any, quantizer: Any) -> None:
        owner, _, name = target.rpartition(".")
        old = getattr(model.get_submodule(owner), name, None)
        if old is None or not is_sharded(old) or not is_sharded(value) or old.shape != value.shape:
            original(model, target, value, info, quantizer)
            return
        tied = model.all_tied_weights_keys
        if old.dtype == value.dtype and target not in tied and target not in tied.values():
            old.copy_(value)
            _as_made_anew(old)
            old._is_hf_initialized = True
            info.missing_keys.discard(target)
        else:  # tied ones are compared, and then tied or not, once all are there
            original(model, target, torch.ops.weft._as_data_of(old, value), info, quantizer)

    return set_param


def _as_made_anew(variable: torch.Tensor) -> None:
    """It requires a gradient where the Parameter would that transformers makes in its place."""
    if isinstance(variable, torch.nn.Parameter):
        variable.requires_grad_(variable.is_floating_point())


@contextlib.contextmanager
def _one_at_a_time() -> Any:
    """Makes transformers read each tensor where it is used, in one thread, rather than all ahead in several."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
