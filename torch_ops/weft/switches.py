"""Process-wide switches; each works at once, and as a `with` scope until its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch

from . import _library  # noqa: F401
from .arguments import needed
from .strings import checked


class _Scope:
    def __init__(self, set_value: Callable[[Any], Any], value: Any) -> None:
        self._set, self._before = set_value, set_value(value)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._set(self._before)


def random_mode(mode: str) -> _Scope:
    """Which random stream sharded tensors draw from.

    Args:
        mode: "counter" (default): values by global index, the same for every layout. "replay": plain torch's own
            stream, equal to the unsharded run bit for bit, but slower.

    Raises:
        ValueError: another mode.
    """
    return _Scope(torch.ops.weft.random_mode, checked(mode, "random_mode: the mode"))


def check_finite(on: bool = True) -> _Scope:
    """Whether each op on sharded tensors looks for NaN and Inf in this rank's part of what it makes; off at first.

    The rank that finds one raises RuntimeError, which names the op, the rank and the variable's path, and the others
    raise the same one where they next wait for it. No error is an Inf that the op was given as a number, nor a -Inf
    that an operand had before: masks are made of them. Each op then reads its results once more; on a GPU the host
    waits for them.
    """
    return _Scope(torch.ops.weft.check_finite, needed(on, (bool, int), "check_finite: on"))


def overlap(budget: int = 256 << 20, *, keep: bool = False) -> _Scope:
    """How many bytes of split variables may be gathered, or on their way, before an op asks for them; 0: none.

    A program gathers its variables in the order of the pass before; from its second pass on the next ones are gathered
    while it computes, in forward and in backward, many small ones in one collective. Each is freed after its use. Where
    the program does something else than before, or a variable was written meanwhile, it is gathered when it is needed,
    as in the first pass. Variables are tensors that have a path: those of `distribute_module`, or tagged.

    Args:
        budget: bytes, in two buckets of half of it; a variable that is larger than one is gathered when it is needed.
            The same on all ranks.
        keep: what forward gathered stays until backward has used it, from the second step on: each variable that
            backward needs is gathered once a step, and not twice. When backward begins they are all there in full, on
            each rank: their bytes, beside those of the budget. False: each is freed after its use, so that no more than
            two buckets are there at once. The same on all ranks.

    Raises:
        ValueError: a budget that is no number, or below 0.
        RuntimeError: later, from an op, where a rank wrote to a variable's `local_tensor` in the middle of a pass, when
            it was on its way to the others already.
    """
    values = (needed(budget, int, "overlap: budget"), needed(keep, (bool, int), "overlap: keep"))
    return _Scope(lambda value: torch.ops.weft.overlap(*value), values)


def strict(on: bool = True, *, allow: str | Sequence[str] = ()) -> _Scope:
    """Whether an op is an error that would move parts of tensors between ranks which nobody asked it to move.

    That is one without a rule, whose inputs would be gathered, and one with an operand that is split and has to be
    brought to another layout for it: gathered, or split along another dimension. Not refused are pending reductions,
    which are what a layout is for, and what needs no part of another rank. `distribute_tensor`, `full_tensor`,
    `item()` and printing are asked for, so they stay allowed.

    Args:
        on: False: nothing is refused, as at first.
        allow: patterns of variable paths, as in a `LayoutMap`; these variables may be gathered
            (`allow=".*/weight"` for weights that are split over the batch's axis).

    Raises:
        ValueError: a pattern that is no regular expression.
        NotImplementedError: later, from the op, before it does anything; it names the op, the variable and both
            layouts.
    """
    needed(on, (bool, int), "strict: on")
    patterns = [allow] if isinstance(allow, str) else list(needed(allow, (str, Sequence), "strict: allow"))
    values = (on, [checked(pattern, "strict: pattern") for pattern in patterns])
    return _Scope(lambda value: torch.ops.weft.strict(*value), values)


def frozen(on: bool = True) -> _Scope:
    """Whether an op is an error for which no step before has made a plan: a program then only repeats itself.

    For a CUDA graph, or where each step has to take the same time. An op that hits its plan asks neither the store nor
    other ranks but by the collectives that it needs, and waits for no device. Run the step once or twice before, as it
    will run::

        for _ in range(3):
            step()
        graph = torch.cuda.CUDAGraph()
        with weft.frozen(), torch.cuda.graph(graph):
            step()
        graph.replay()

    A graph with collectives in it has to be gone (`del graph`) before the process group is destroyed. A step that asks
    for a value (`item()`, an index of unknown length, printing) waits for the device, which CUDA refuses there.

    Args:
        on: False: plans are made when they are needed, as at first.

    Raises:
        RuntimeError: later, from the op, before it does anything; it names the op and its operands' layouts.
    """
    return _Scope(torch.ops.weft.frozen, needed(on, (bool, int), "frozen: on"))


def warn_relayout(bytes: int | None = 1 << 20) -> _Scope:
    """Warns of each operand that an op needs in another layout, so that parts of it are gathered or sent.

    Once for each op, variable and pair of layouts, on the first rank.

    Args:
        bytes: the size of the part that a rank gets (the largest of them), from which on it is worth a word. None:
            nothing is said, as at first.

    Raises:
        ValueError: less than 0 bytes.
    """
    if bytes is not None and needed(bytes, int, "warn_relayout: bytes") < 0:
        raise ValueError(f"[W030] warn_relayout: {bytes} bytes; give 0 or more, or None for never")
    return _Scope(torch.ops.weft.warn_relayout, -1 if bytes is None else bytes)


def check_plain(on: bool = True) -> _Scope:
    """Whether each plain operand of an op on sharded tensors is compared between the ranks, as it is used.

    A plain tensor counts as the same value on all ranks. That a sample of its values is (128 words of eight bytes, all
    of a small tensor; none of one on a GPU, which would have to be waited for) is always made sure of, with the next
    collective. Switched on, all values are compared at once, on GPUs too: a small collective for each such operand.

    Raises:
        ValueError: later, from the op whose plain operand differs, on all ranks; the message names both.
    """
    return _Scope(torch.ops.weft.check_plain, needed(on, (bool, int), "check_plain: on"))
