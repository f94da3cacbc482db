"""The end of a program: saves reach the disk, and Gloo lets go of tensors that Python knows, before Python goes."""

import atexit

import torch

from . import _library  # noqa: F401
from .held import group_names


# Registered as Weft is imported, and so called after what the program registers from then on.
@atexit.register
def _finish_last_work() -> None:
    torch.ops.weft.finish_saves()
    torch.ops.weft.finish_last_work(group_names())
