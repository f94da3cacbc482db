"""The same random values on all ranks: Keras draws its seeds from Python's, NumPy's and torch's generators."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch.distributed as dist

import weft

_synchronized = False


def synchronize() -> None:
    """Gives every rank rank 0's state of Python's, NumPy's and Keras's own generators (weft.initialize: torch's).

    A collective. What was seeded on rank 0 stays seeded; what was not is the same on all ranks from here on.
    """
    global _synchronized
    if weft.world_size() == 1:
        return
    _synchronized = True
    generator = _keras_generator()
    mine: list[Any] = [random.getstate(), np.random.get_state(), generator and generator.state.numpy()]
    received = list(mine)
    dist.broadcast_object_list(received, src=dist.get_global_rank(dist.group.WORLD, 0))
    if weft.rank() == 0:
        return
    random.setstate(received[0])
    np.random.set_state(received[1])
    if received[2] is not None:
        from keras.src.random.seed_generator import global_seed_generator

        global_seed_generator().state.assign(received[2])


def synchronize_once() -> None:
    """For jobs that never call keras.distribution.initialize: those that made their process group themselves."""
    if not _synchronized and weft.world_size() > 1:
        from weft.process import same_random_state

        same_random_state()
        synchronize()


def _keras_generator() -> Any:
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

    return global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
