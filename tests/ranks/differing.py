"""What a rank passes that differs from what the others pass, and the error that it gets."""

import time

import torch
import weft
from torch import nn


def pick(a, b):
    return b if weft.rank() == 1 else a


def square(**options):
    return torch.ones(4, 4, **options)


def linear(**options):
    return nn.Linear(4, 4, **options)


def error_of(call, arguments):
    start = time.monotonic()
    try:
        call(*arguments)
        return "", 0.0
    except ValueError as e:
        return f"{type(e).__name__}: {e}".split("\nException raised from")[0], time.monotonic() - start
