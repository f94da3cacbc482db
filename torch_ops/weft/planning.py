"""A training step looked at before it runs: what a layout costs in memory and collectives, told by one process."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from .arguments import needed
from .axes import Axes
from .check_steps import called, loss_of
from .computing import ComputeLog
from .layout_map import LayoutMap
from .memory import MemoryLog, Peak
from .mesh import DeviceMesh
from .module import distribute_module
from .planned import Gathered, Planned, PlannedVariable
from .reporting import report
from .slots import slots_of
from .strings import shown
from .tensors import distribute_tensor, is_sharded, layout_of, local_tensor, map_tensors, path_of, shard_batch
from .tracing import trace

_STEPS = 2  # the first makes the optimizer's state, the second is as all that follow
_BATCH_AXES = ("batch", "data")  # the batch is split over the axis of that name, where nobody says otherwise

Layouts = Mapping[str, Axes] | Callable[[torch.nn.Module, DeviceMesh], LayoutMap] | str | os.PathLike


def plan(
    make_model: Callable[[], torch.nn.Module],
    mesh_shape: Mapping[str, int],
    layouts: Layouts,
    example_inputs: Any,
    *,
    optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer] | None = None,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    batch_axis: str | tuple[str, ...] | None = None,
    rank: int = 0,
) -> Planned:
    """What a training step takes on one rank of a mesh: memory, collectives, bytes. No processes, no memory, no values.

    The model is made on the meta device and laid out over a simulated mesh (`DeviceMesh(..., simulate=rank)`); steps
    of forward, backward and optimizer then run on shapes, planned as on the real mesh. Collectives and bytes are those
    of the real program where that plans by the same costs (`WEFT_COST`; here `measure` means `fixed`); memory is an
    estimate: what its tensors take on a CPU with Gloo, kernels' own scratch memory left out.

        planned = weft.plan(make_model, {"data": 8, "model": 8}, layouts, batch, optimizer=torch.optim.AdamW)
        print(planned)
        planned.peak, planned.kinds, planned.trace.total_bytes

    Args:
        make_model: makes the model; called on the meta device.
        mesh_shape: ranks along each axis, by the axes' names.
        layouts: patterns and axes, as a LayoutMap has; a plan file; or a function of (model, mesh) that gives a
            LayoutMap, such as `lambda model, mesh: weft.layouts.fsdp(model, mesh, "data")`.
        example_inputs: a whole batch, which may be on the meta device: a mapping is passed as keywords, a tuple or
            list as arguments.
        optimizer: makes it of the parameters; default: none, and the step ends with the backward pass.
        loss: of (output, batch); default: the output's own `loss`, or the output where it is one number, else the mean
            square of what it holds.
        batch_axis: mesh axis, or several, over which the batch is split along dimension 0; default: "batch" or "data"
            where the mesh has one, else none.
        rank: whose part is looked at. The first holds the most where parts are uneven.

    Raises:
        ValueError: arguments of other kinds than these, a layout that does not fit its variable, no such rank.
        RuntimeError: the step needs a value (`item`, shapes that depend on values), which no rank has, or shapes or
            dtypes do not go together; a NotImplementedError, where core raises that.
    """
    if isinstance(make_model, torch.nn.Module) or not callable(make_model):
        raise ValueError("[W038] plan: pass a function that makes the model, such as `lambda: Net()`")
    if not isinstance(mesh_shape, Mapping) or not mesh_shape:
        raise ValueError(
            f'[W038] plan: mesh_shape says how many ranks each axis has, {{"data": 2}}, not {shown(mesh_shape)}'
        )
    needed(rank, int, "plan: rank")
    mesh = DeviceMesh(tuple(mesh_shape.values()), tuple(mesh_shape), device_type="cpu", simulate=rank)
    if batch_axis is None:
        batch_axis = tuple(axis for axis in mesh_shape if axis in _BATCH_AXES)
    step = Step(example_inputs, optimizer, loss, batch_axis).checked("plan")
    model = made_on_meta(make_model, "plan")
    return planned_step(model, _map_for(model, mesh, layouts), step)


class Step(NamedTuple):
    """What a training step is made of beside the model: as `plan` takes them."""

    inputs: Any
    optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer] | None = None
    loss: Callable[[Any, Any], torch.Tensor] | None = None
    batch_axis: str | tuple[str, ...] = ()

    def checked(self, function: str) -> Step:
        """Raises ValueError where the optimizer or the loss is no function."""
        if isinstance(self.optimizer, torch.optim.Optimizer) or not callable(self.optimizer or print):
            raise ValueError(
                f"[W038] {function}: optimizer must make one of parameters, as torch.optim.AdamW does, not be a "
                f"{type(self.optimizer).__name__}"
            )
        if not callable(self.loss or print):
            raise ValueError(
                f"[W038] {function}: loss must be a function of (output, batch), not {type(self.loss).__name__}"
            )
        return self


def made_on_meta(make_model: Callable[[], torch.nn.Module], function: str) -> torch.nn.Module:
    """A copy of what it makes, which may have memory all the same, or be a model that the program goes on using.

    Raises ValueError where it makes something else than a module.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = make_model()
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"[W038] {function}: make_model must give a torch.nn.Module, not {type(model).__name__}")
    return copied_on_meta(model, function)


def copied_on_meta(model: torch.nn.Module, function: str) -> torch.nn.Module:
    """The model with variables that have no memory. It stays as it is itself.

    Raises ValueError where it is distributed.
    """
    memo: dict[int, torch.Tensor] = {}
    for variable in (*model.parameters(), *model.buffers()):
        if is_sharded(variable):
            raise ValueError(f"[W053] {function}: the model is distributed already; pass one that is not")
        if torch.nn.parameter.is_lazy(variable):
            continue  # without a shape, as is told where it is laid out
        empty = torch.empty_like(variable, device="meta")
        is_parameter = isinstance(variable, torch.nn.Parameter)
        memo[id(variable)] = torch.nn.Parameter(empty, variable.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, memo)


def planned_step(model: torch.nn.Module, layout_map: LayoutMap, step: Step, *, steps: int = _STEPS) -> Planned:
    """Lays the model, which is on the meta device, out over the map's simulated mesh, and runs that many steps; the
    last one is told of. Of a single one the optimizer's state counts as if it had been there from the beginning."""
    mesh = layout_map.device_mesh
    with torch.random.fork_rng(devices=[]), _apart(), MemoryLog() as log, _gathers() as gathers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is among the notes
            distribute_module(model, layout_map)
        notes = report(model, layout_map).notes
        log.name("weights", list(model.parameters()))
        log.name("buffers", list(model.buffers()))
        made = step.optimizer(model.parameters()) if step.optimizer is not None else None
        batch = _batch_on(mesh, step)
        begin = log.mark()
        scratch: list[tuple[int, int]] = []
        for _ in range(steps):
            gathers.clear()
            if made is None:
                model.zero_grad()
            else:
                made.zero_grad()
            with trace(model) as collectives, ComputeLog() as computed:
                inputs = shard_batch(batch, mesh, step.batch_axis) if step.batch_axis else batch
                log.name("inputs", _tensors(inputs))
                _forward_and_backward(model, inputs, step.loss)
                backward_end = log.mark()
                log.name("gradients", [p.grad for p in model.parameters() if p.grad is not None])
                if made is not None:
                    made.step()
                    log.name("optimizer", _tensors(made.state))
                del inputs
            scratch += computed.scratch()
        end = log.mark()
        variables = _variables(model, made)
    peak = log.peak(begin, end, scratch)
    if steps == 1:
        peak = max(
            peak,
            _with_state(log.peak(begin, backward_end, scratch), sum(v.optimizer for v in variables)),
            key=lambda p: p.bytes,
        )
    return Planned(mesh, peak, variables, collectives, computed, gathers.found(), notes)


def _batch_on(mesh: DeviceMesh, step: Step) -> Any:
    """The batch as the program has it before it splits it. What stays whole and has no memory is laid out: beside the
    model's variables, which are where they will be, a tensor of the meta device would be one of another device."""
    whole = lambda t: t.is_meta and not is_sharded(t) and not (step.batch_axis and t.dim() > 0)  # noqa: E731
    return map_tensors(step.inputs, lambda t: distribute_tensor(t, (None,) * t.dim(), mesh) if whole(t) else t)


def _with_state(peak: Peak, state: int) -> Peak:
    return Peak(peak.bytes + state, {**peak.kinds, "optimizer": state}, peak.op) if state else peak


def _forward_and_backward(model: torch.nn.Module, inputs: Any, loss: Callable[[Any, Any], Any] | None) -> None:
    output = called(model, inputs)
    total = loss(output, inputs) if loss is not None else loss_of(output)
    if total is not None and total.requires_grad:
        total.backward()


def _map_for(model: torch.nn.Module, mesh: DeviceMesh, layouts: Any) -> LayoutMap:
    if isinstance(layouts, Mapping) and not isinstance(layouts, LayoutMap):
        return LayoutMap(mesh, layouts)
    if isinstance(layouts, (str, os.PathLike)):
        return LayoutMap.load(layouts, mesh)
    made = layouts(model, mesh) if callable(layouts) else layouts
    if not isinstance(made, LayoutMap) or made.device_mesh != mesh:
        raise ValueError(
            f"[W038] plan: layouts must be patterns with their axes, a plan file, or a function of (model, mesh) that "
            f"gives a LayoutMap over that mesh, not {shown(made)}"
        )
    return made


def _variables(model: torch.nn.Module, optimizer: torch.optim.Optimizer | None) -> list[PlannedVariable]:
    found: dict[int, PlannedVariable] = {}
    for slot in slots_of(model):
        variable = slot.tensor
        if id(variable) in found:
            continue
        state = optimizer.state.get(variable, {}) if optimizer is not None else {}
        found[id(variable)] = PlannedVariable(
            path_of(variable),
            tuple(variable.shape),
            str(layout_of(variable)),
            _bytes_here([variable]),
            _bytes_here([variable.grad] if variable.grad is not None else []),
            _bytes_here(_tensors(state)),
        )
    return list(found.values())


def _bytes_here(tensors: Iterable[torch.Tensor]) -> int:
    """That this rank holds."""
    with torch.no_grad():
        return sum(local_tensor(t).numel() * t.element_size() for t in tensors)


def _tensors(values: Any) -> list[torch.Tensor]:
    """Those in any nesting, an optimizer's state with parameters as keys among them."""
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    return [t for value in values for t in _tensors(value)] if isinstance(values, (list, tuple)) else []


@contextmanager
def _apart() -> Iterator[None]:
    """One rank may plan while the others do not, and each plan begins as a program does."""
    torch.ops.weft._begin_apart()
    torch.ops.weft._forget_simulated()
    try:
        with torch.inference_mode(False), torch.enable_grad():  # a step is one of training wherever it is planned
            yield
    finally:
        torch.ops.weft._end_apart()


class _Gathers:
    """Ops without a rule for how their operands are split."""

    def __init__(self) -> None:
        self._calls: list[Gathered] = []

    def clear(self) -> None:
        torch.ops.weft._gather_log_stop()
        torch.ops.weft._gather_log_start()

    def stop(self) -> None:
        calls: dict[tuple[str, str], Gathered] = {}
        for op, reason, size in zip(*torch.ops.weft._gather_log_stop(), strict=True):
            before = calls.get((op, reason), Gathered(op, reason, 0, 0))
            calls[op, reason] = Gathered(op, reason, before.calls + 1, before.bytes + size)
        self._calls = sorted(calls.values(), key=lambda call: -call.bytes)

    def found(self) -> list[Gathered]:
        return self._calls


@contextmanager
def _gathers() -> Iterator[_Gathers]:
    found = _Gathers()
    torch.ops.weft._gather_log_start()
    try:
        yield found
    finally:
        found.stop()
