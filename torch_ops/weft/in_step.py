"""What ranks do one by one and must not part in: reading and writing files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .mesh import DeviceMesh


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
