"""What ranks do one by one and must not part in: reading and writing files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from .mesh import DeviceMesh, adopt_world


@contextmanager
def telling(what: str) -> Iterator[None]:
    """An error of this rank is raised on all those that wait for it."""
    try:
        yield
    except Exception as e:
        torch.ops.weft.report_failure(what, f"{type(e).__name__}: {e}")
        raise


def meet(what: str, mesh: DeviceMesh) -> None:
    """Waits for all ranks; raises where one has failed."""
    torch.ops.weft.check_same([0], what, mesh._object)


def agree(what: str, error: Exception | None) -> None:
    """Waits for all ranks; raises on all of them the first error that one has.

    Ranks that have sent each other the same until here go on together afterwards, as after `telling` they cannot.
    """
    found = [error]
    if torch.ops.weft.world_size() > 1:
        found = [None] * dist.get_world_size()
        dist.all_gather_object(found, picklable(error))
    for rank, e in enumerate(found):
        if e is not None:
            if rank != torch.ops.weft.rank():
                e.add_note(f"raised on rank {rank}, {what}")
            raise e


def by_first_rank(what: str, write: Callable[[], None]) -> None:
    """The first rank writes; raises on all of them what it raises. Every rank calls it.

    Raises:
        ValueError: a rank is elsewhere.
    """
    if torch.ops.weft.world_size() > 1:
        adopt_world()
        torch.ops.weft.check_same([0], what, None)
    error: Exception | None = None
    try:
        if torch.ops.weft.rank() == 0:
            write()
    except Exception as e:
        error = e
    agree(what, error)


def picklable(error: Exception | None) -> Exception | None:
    """The error, or what it says where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own __init__ or __reduce__ may do anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
