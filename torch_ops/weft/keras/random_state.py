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
    mine = [random.getstate(), np.random.get_state(), _keras_state()]
    received: list[Any] = list(mine)
    dist.broadcast_object_list(received, src=0)
    if weft.rank() == 0:
        return
    _set_keras_state(*received[2])  # a seed generator that it makes draws from Python's
    random.setstate(received[0])
    np.random.set_state(received[1])


def synchronize_once() -> None:
    """Synchronizes jobs that never call keras.distribution.initialize, as they made their process group themselves."""
    if not _synchronized and weft.world_size() > 1:
        from weft.process import same_random_state

        same_random_state()
        synchronize()


def _keras_state() -> tuple[int | None, Any]:
    """The seed that Keras was given, and the state of its own seed generator; None: there is none yet."""
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
    from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    state = generator.state.numpy() if generator is not None else None
    return global_state.get_global_attribute(GLOBAL_RANDOM_SEED), state


def _set_keras_state(seed: int | None, state: Any) -> None:
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
    from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

    global_state.set_global_attribute(GLOBAL_RANDOM_SEED, seed)
    if state is None:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)  # made when it is needed
    else:
        global_seed_generator().state.assign(state)
