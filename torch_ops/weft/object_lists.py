"""torch.distributed's collectives of Python objects where one of these is, or holds, a sharded tensor.

Objects travel by pickle, which refuses sharded tensors on the rank that sends: before anything is sent, while the other
ranks wait for it. So that rank sends in their place objects that raise its error where they are unpickled.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch

from .after_import import replace_everywhere
from .process_groups import not_compared
from .savers import without_full_values

_REFUSED = "[W060] weft: pickle"


class _Collective(NamedTuple):
    """Where a function takes what it sends, and where it writes what it receives."""

    sent: str
    written: str
    sends_list: bool = True


_COLLECTIVES = {
    "broadcast_object_list": _Collective("object_list", "object_list"),
    "scatter_object_list": _Collective("scatter_object_input_list", "scatter_object_output_list"),
    "send_object_list": _Collective("object_list", "object_list"),
    "recv_object_list": _Collective("object_list", "object_list"),
    "all_gather_object": _Collective("obj", "object_list", sends_list=False),
    "gather_object": _Collective("obj", "object_gather_list", sends_list=False),
}


class _SentError(Exception):
    """The error of a rank that was to send: the ranks that receive are in step with it."""


def _raise(text: str) -> NoReturn:
    raise _SentError(text)


class _Refusal:
    """Raises the error where it is unpickled."""

    def __init__(self, error: Exception) -> None:
        self._text = str(error).removeprefix("[W060] ")

    def __reduce__(self) -> tuple:
        return _raise, (self._text,)


def install() -> None:
    """Puts what tells the other ranks in the place of torch.distributed's functions."""
    import torch.distributed as dist

    if not dist.is_available():
        return
    torch.serialization.add_safe_globals([_raise])  # `weights_only=True` unpickles nothing that is not named
    for name, collective in _COLLECTIVES.items():
        core = getattr(dist, name)
        replace_everywhere(core, _telling(core, collective))


def _telling(core: Callable, collective: _Collective) -> Callable:
    signature = inspect.signature(core)

    @functools.wraps(core)
    def telling(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        written: Any = given.arguments.get(collective.written)
        before = list(written or ())
        try:
            with without_full_values(), not_compared():
                try:
                    return core(*args, **kwargs)
                except NotImplementedError as error:
                    if not str(error).startswith(_REFUSED):
                        raise
                    _send(_Refusal(error), core, collective, given)
                    raise
        except _SentError as error:
            written[:] = before  # what came before it, of other ranks
            raise NotImplementedError(f"[W060] {error}") from None

    return telling


def _send(refusal: _Refusal, core: Callable, collective: _Collective, given: inspect.BoundArguments) -> None:
    """Sends the refusal in the place of each object: a rank that gets another one would go on."""
    sent = given.arguments[collective.sent]
    given.arguments[collective.sent] = [refusal] * len(sent) if collective.sends_list else refusal
    core(*given.args, **given.kwargs)
