"""Layers that are alike, and a smaller model in which a few of them stand for all."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

_LONG = 4  # modules of one matrix each are layers of a model only where there are as many


class Run(NamedTuple):
    """Modules that follow each other in a list and are alike: of one type, with variables of equal shapes."""

    holder: str  # path of the list; empty: the model
    names: tuple[str, ...]  # of the modules in it


def runs_of(model: nn.Module) -> list[Run]:
    """All of them, an outer one before those inside it."""
    found = []
    for path, holder in model.named_modules():
        if not isinstance(holder, (nn.ModuleList, nn.Sequential)):
            continue
        alike: list[str] = []
        before: tuple | None = None
        for name, child in [*holder.named_children(), ("", None)]:
            form = _form(child) if child is not None else None
            if form != before or form is None:
                if before is not None and len(alike) > 1 and (_matrices(before) > 1 or len(alike) >= _LONG):
                    found.append(Run(path, tuple(alike)))
                alike, before = [], form
            alike.append(name)
    return found


def generic(path: str, runs: Iterable[Run]) -> str:
    """The path with * for the number of each layer of a run: equal for variables that stand for each other."""
    words = path.split(".")
    for run in runs:
        at = len(run.holder.split(".")) if run.holder else 0
        if words[at : at + 1] and words[at] in run.names and _within(path, run.holder):
            words[at] = f"{run.names[0]}*"
    return ".".join(words)


def outermost(runs: Iterable[Run]) -> list[Run]:
    """Those that are in no module of another one."""
    out: list[Run] = []
    for run in runs:
        if not any(_within(run.holder, f"{o.holder}.{n}" if o.holder else n) for o in out for n in o.names):
            out.append(run)
    return out


def folded(model: nn.Module, kept: Mapping[Run, int]) -> nn.Module:
    """A copy of the model, which is on the meta device, with that many modules of each run, under their old paths."""
    copied = copy.deepcopy(model)
    for run, count in kept.items():
        holder = copied.get_submodule(run.holder)
        for name in run.names[count:]:
            del holder._modules[name]
    return copied


def _within(path: str, holder: str) -> bool:
    return not holder or path == holder or path.startswith(f"{holder}.")


def _form(module: nn.Module) -> tuple | None:
    variables = tuple((name, tuple(t.shape), t.dtype) for name, t in _variables(module))
    return (type(module), variables) if variables else None


def _variables(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _matrices(form: tuple) -> int:
    return sum(len(shape) > 1 for _, shape, _ in form[1])
