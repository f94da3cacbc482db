"""Views that compiled programs return, of what they are given and of other results.

AOTAutograd makes such a view again outside of the program, from the memory that it looks into, and a sharded tensor has
none. Weft knows which view ops led to it: these are done again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from . import traced_writes
from .tensors import is_sharded
from .traced import Traced, are_tied, part_of, view_steps


@dataclasses.dataclass(frozen=True)
class _Views:
    """In place of functionalization's view_meta_sequence of a result."""

    steps: Any
    sequence: tuple[()] = ()  # no sizes that are symbols in it

    def of(self, base: torch.Tensor, requires_grad: bool) -> torch.Tensor:
        out = self.steps.of(base)
        if base.requires_grad and not requires_grad:
            return out.detach()
        if out is base:
            out = torch.ops.aten.alias(base)
        return out if out.requires_grad == requires_grad else out.requires_grad_(requires_grad)


def hook(aot_autograd: ModuleType) -> None:
    _keep_steps(aot_autograd)
    _bring_up_to_date(aot_autograd)


def _keep_steps(aot_autograd: ModuleType) -> None:
    """What is found out about a program's results: with it, which views they are."""
    original = aot_autograd.run_functionalized_fw_and_collect_metadata

    @functools.wraps(original)
    def run_and_collect(f: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
        seen: list[Any] = []

        @functools.wraps(f)
        def keeping(*args: Any) -> Any:
            outs = list(f(*args))
            groups = _groups(args, outs)
            hidden = [i for group in groups if _is_hidden(group, outs) for i in group]
            seen[:] = args, list(outs), groups, hidden
            for i in hidden:
                outs[i] = torch.ops.aten._unsafe_view(outs[i], outs[i].shape)
            return outs

        collect = original(keeping, **kwargs)

        @functools.wraps(collect)
        def collected(*args: Any) -> Any:
            meta = collect(*args)
            traced_writes.found(args, [info.mutates_data or info.mutates_metadata for info in meta.input_info])
            given, outs, groups, hidden = seen
            seen.clear()
            if not any(type(x) is Traced for x in outs):
                return meta
            infos = list(meta.output_info)
            for i in hidden:
                infos[i] = dataclasses.replace(infos[i], output_type=type(infos[i].output_type).unsafe_view_alias)
            for group in groups:
                _regenerate(group, outs, infos)
            for i, info in enumerate(infos):
                base = _base_of(info, given, outs)
                if type(base) is Traced and type(outs[i]) is Traced:
                    infos[i] = dataclasses.replace(info, view_meta_sequence=_Views(_steps(base, outs[i])))
            return dataclasses.replace(meta, output_info=infos)

        return collected

    vars(aot_autograd)["run_functionalized_fw_and_collect_metadata"] = run_and_collect


def _bring_up_to_date(aot_autograd: ModuleType) -> None:
    """A view whose values were moved is moved anew after a write to what it is a view of: in the program, not after."""
    create, capture = aot_autograd.create_aot_state, aot_autograd.aot_stage1_graph_capture

    def up_to_date(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def run(*args: Any) -> Any:
            outs = f(*args)
            for out in outs:
                if type(out) is Traced:
                    part_of(out)
            return outs

        return run

    @functools.wraps(create)
    def create_aot_state(stack: Any, flat_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return create(stack, up_to_date(flat_fn), *args, **kwargs)

    @functools.wraps(capture)
    def aot_stage1_graph_capture(aot_state: Any, orig_flat_fn: Callable[..., Any]) -> Any:
        return capture(aot_state, up_to_date(orig_flat_fn))

    vars(aot_autograd).update(create_aot_state=create_aot_state, aot_stage1_graph_capture=aot_stage1_graph_capture)


def _groups(given: Sequence[Any], outs: Sequence[Any]) -> list[list[int]]:
    """Results that are views of one tensor, not of one that the program is given."""
    by_storage: dict[StorageWeakRef, list[int]] = {}
    for i, out in enumerate(outs):
        if type(out) is Traced:
            by_storage.setdefault(StorageWeakRef(out.untyped_storage()), []).append(i)
    for x in given:
        if type(x) is Traced:
            by_storage.pop(StorageWeakRef(x.untyped_storage()), None)
    groups = [group for group in by_storage.values() if len(group) > 1]
    for group in groups:
        for k, i in enumerate(group):
            for j in group[:k]:
                if are_tied(outs[j], outs[i]) and not any(_is_view(outs, b, i) and _is_view(outs, b, j) for b in group):
                    raise NotImplementedError(
                        f"[W067] weft: results {j} and {i} are views of one tensor, which is no result itself, and one "
                        "of them is a copy of values that had to be moved between ranks: a write to one would not be "
                        "seen in the other. Return the tensor, too, or a clone() of them"
                    )
    return groups


def _is_hidden(group: Sequence[int], outs: Sequence[Any]) -> bool:
    """Whether autograd need not know these results as views: as core decides it for plain ones (Note [AOTAutograd:
    differentiable outputs that alias each other from a multi-output view call]), of which alone it can tell."""
    if not all(outs[i].requires_grad and outs[i]._base is not None and outs[i]._base.requires_grad for i in group):
        return False
    several = [i for i in group if _steps(outs[i]._base, outs[i]).one_of_several()]
    return len(group) - len(several) <= 1


def _regenerate(group: Sequence[int], outs: Sequence[Any], infos: list[Any]) -> None:
    """Views of other results without gradients, which core leaves to the program, are made again like those with."""
    kinds = type(infos[group[0]].output_type)
    left = [i for i in group if infos[i].output_type is kinds.non_alias]
    bases = {i: [j for j in left if j != i and _is_base(outs, j, i)] for i in left}
    for i in left:
        base = next((j for j in bases[i] if not bases[j]), None)
        if base is not None and not outs[i].requires_grad:
            kind = kinds.alias_of_intermediate_base_is_user_output
            infos[i] = dataclasses.replace(infos[i], output_type=kind, base_idx=base)


def _is_base(outs: Sequence[Any], j: int, i: int) -> bool:
    """Whether result i can be made from result j; of two that are the same, the second one from the first."""
    return _is_view(outs, j, i) and (j < i or not _is_view(outs, i, j))


def _is_view(outs: Sequence[Any], base: int, view: int) -> bool:
    return view_steps(outs[base], outs[view]) is not None


def _base_of(info: Any, given: Any, outs: Any) -> Any:
    kinds = type(info.output_type)
    if info.output_type is kinds.alias_of_input:
        return given[info.base_idx]
    if info.output_type is kinds.alias_of_intermediate_base_is_user_output:
        return outs[info.base_idx]
    return None


def _steps(base: torch.Tensor, view: torch.Tensor) -> Any:
    steps = view_steps(base, view)
    if steps is None:
        raise NotImplementedError(
            "[W067] weft: a result is a view of a tensor whose sizes or strides the program changes in place; return "
            "a clone() of it"
        )
    return steps


def make_again(wrappers: ModuleType) -> None:
    """Where a compiled program's results are made again from what they look into."""
    original = wrappers.gen_alias_from_base

    @functools.wraps(original)
    def gen_alias_from_base(base: Any, target: Any, requires_grad: bool, views: Any = None, **kwargs: Any) -> Any:
        if type(views) is _Views and is_sharded(base):
            return views.of(base, requires_grad)
        return original(base, target, requires_grad, views, **kwargs)

    vars(wrappers)["gen_alias_from_base"] = gen_alias_from_base
