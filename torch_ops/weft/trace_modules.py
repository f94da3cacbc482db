"""Which module was at work when a collective ran."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.nn.modules import module as nn_module


class Moment(NamedTuple):
    """When a collective ran."""

    start: int  # nanoseconds of the monotonic clock
    duration: int  # nanoseconds until its result was there
    sequence: int  # in a backward pass the number of the op whose gradient was computed; else -1


class _Call:
    """One call of a module, with the numbers that autograd gave to what it recorded meanwhile."""

    def __init__(self, module: torch.nn.Module, path: str) -> None:
        self.module, self.path = module, path
        self.begin, self.first = time.monotonic_ns(), torch.autograd._get_sequence_nr()
        self.end: float = float("inf")
        self.last: float = float("inf")

    def close(self) -> None:
        self.end, self.last = time.monotonic_ns(), torch.autograd._get_sequence_nr()


_watching: set[ModuleCalls] = set()


def stop_watching() -> None:
    """Before Dynamo looks at code: hooks of modules would be part of its programs, on this rank alone."""
    for calls in list(_watching):
        calls.stop()


class ModuleCalls:
    """Watches the calls that one thread makes of the modules inside `roots`."""

    def __init__(self, roots: Iterable[torch.nn.Module]) -> None:
        self._paths: dict[torch.nn.Module, str] = {}
        for root in roots:
            for path, module in root.named_modules():
                self._paths.setdefault(module, torch.ops.weft.keras_path(path))
        self._thread = threading.get_ident()
        self._open: list[_Call] = []
        self._calls: list[_Call] = []
        self._handles: list[Any] = []

    def start(self) -> None:
        if self._paths:
            self._handles = [
                nn_module.register_module_forward_pre_hook(self._before),
                nn_module.register_module_forward_hook(self._after, always_call=True),
            ]
            _watching.add(self)

    def stop(self) -> None:
        _watching.discard(self)
        for handle in self._handles:
            handle.remove()
        for call in self._open:
            call.close()
        self._handles, self._open = [], []

    def _before(self, module: torch.nn.Module, args: Any) -> None:
        path = self._paths.get(module)
        if path is not None and threading.get_ident() == self._thread:
            self._open.append(_Call(module, path))
            self._calls.append(self._open[-1])

    def _after(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if self._open and self._open[-1].module is module and threading.get_ident() == self._thread:
            self._open.pop().close()

    def paths(self, moments: Iterable[Moment]) -> list[str]:
        """For each moment, in order of their starts, the innermost module that was running, or whose op's gradient was
        computed; empty: none."""
        firsts = [call.first for call in self._calls]
        found, stack, waiting = [], list[_Call](), 0
        for moment in moments:
            while waiting < len(self._calls) and self._calls[waiting].begin <= moment.start:
                stack.append(self._calls[waiting])
                waiting += 1
            while stack and stack[-1].end < moment.start:
                stack.pop()
            inside = stack[-1] if stack else self._recorded(moment.sequence, firsts)
            found.append(inside.path if inside is not None else "")
        return found

    def _recorded(self, sequence: int, firsts: list[int]) -> _Call | None:
        """The innermost call in which autograd gave that number."""
        before = bisect.bisect_right(firsts, sequence) if sequence >= 0 else 0
        return next((call for call in reversed(self._calls[:before]) if sequence < call.last), None)
