"""The end of a program: saves reach the disk, and Gloo lets go of tensors that Python knows, before Python goes."""

import atexit

import torch
import torch.distributed as dist

from . import _library  # noqa: F401


# Registered as Weft is imported, and so called after what the program registers from then on.
@atexit.register
def _finish_last_work() -> None:
    torch.ops.weft.finish_saves()
    names = dist.distributed_c10d._world.pg_names.values() if dist.is_available() else ()
    torch.ops.weft.finish_last_work(list(names))
