"""What compiled programs write of what they are given.

A program knows each tensor by itself: where two hold the same values, it would not see a write to the one in the other.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from .traced import Traced, refuse_overlap

_real = WeakIdKeyDictionary()  # of a traced tensor: the real one, weakly
_last = threading.local()  # .written: of the arguments of the program that is compiled, which ones it writes


def stands_for(traced: torch.Tensor, real: torch.Tensor) -> None:
    _real[traced] = weakref.ref(real)


def found(given: Sequence[Any], written: Sequence[bool]) -> None:
    """Notes which arguments a program writes, each of them True in `written`.

    Raises:
        NotImplementedError: one of them holds values of another argument, or is a copy of what it is a view of.
    """
    _last.written = list(written)
    reals = [(i, _real[x]()) for i, x in enumerate(given) if type(x) is Traced and x in _real]
    known = [(i, real) for i, real in reals if real is not None]
    if any(written[i] for i, _ in known):
        refuse_overlap([real for _, real in known], [k for k, (i, _) in enumerate(known) if written[i]])


def of(arguments: int, ours: Sequence[int]) -> list[int]:
    """Which of these arguments the program writes that is compiled, as indices into `ours`.

    Args:
        arguments: how many there are in all.
    """
    written = getattr(_last, "written", [])
    if len(written) != arguments:
        raise NotImplementedError("[W067] weft: the program is given other arguments than it was traced with")
    return [k for k, i in enumerate(ours) if written[i]]
