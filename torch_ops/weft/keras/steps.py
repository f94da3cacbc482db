"""Training, evaluation and prediction steps on sharded batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch

import weft

from .. import compiling
from . import data, reporting, values, variables, versions
from .hooks import wrap

_STEPS = ("train", "test", "predict")


class ShardedStep:
    """A step function of Keras's trainer on a sharded batch, whose results are plain tensors.

    Keras hands results to callbacks on other threads, where a collective could overtake one of this thread: so they are
    gathered here.
    """

    def __init__(self, model: Any, step: Callable, distribution_of: Callable) -> None:
        self._model, self._step, self._distribution_of = model, step, distribution_of

    def __call__(self, batches: Any) -> Any:
        from keras import tree

        distribution = self._distribution_of()
        if distribution is None:
            return self._step(batches)
        prepare(self._model, distribution)
        with data.telling_of_parts():
            batches = [data.distribute_batch(b, distribution) for b in batches]
            out = tree.map_structure(values.full, self._step(batches))
            torch.ops.weft.finish_checks()  # of the batch, where nothing else was sent
        reporting.warn_of_unused_rules(self._model, distribution)
        return out


def prepare(model: Any, distribution: Any) -> None:
    """Before a model's first step, and again when there may be new variables: lays out those that are plain still
    (it was built before the distribution was set), and checks that all ranks have the same values.

    Raises:
        ValueError: on all ranks, where their values differ.
    """
    state = distribution, getattr(model, "optimizer", None), variables.made
    if getattr(model, "_weft_prepared", None) == state:
        return
    everything = {id(v): v for v in [*model.variables, *variables.of_optimizer(model)]}
    owners = variables.owners(model)
    for v in everything.values():
        if v._value is not None and not weft.is_sharded(v._value):
            variables.follow(v, owners.get(id(v)))
            with variables.made_by(owners.get(id(v))):
                variables.lay_out(v, v._value, distribution)
    check_same_values(list(everything.values()), distribution)
    object.__setattr__(model, "_weft_prepared", state)


def check_same_values(of: list[Any], distribution: Any) -> None:
    mesh = distribution.device_mesh.backend_mesh
    if mesh.size == 1:
        return
    words = []
    for v in of:
        facts = [v.path, tuple(v.shape), str(v.dtype), str(weft.layout_of(v._value))]
        if values.is_everywhere(v._value):
            flat = weft.local_tensor(v._value.detach()).reshape(-1)
            facts.append(flat[:: max(1, flat.numel() // 4)].to("cpu", torch.float64).tolist())
        words.append(zlib.crc32(repr(facts).encode()))
    torch.ops.weft.check_same(
        words,
        "the model's variables (paths, shapes, layouts, values of replicated ones; seed all ranks alike)",
        mesh._object,
    )


def install(keras: versions.Keras) -> None:
    lib = keras.distribution
    for kind in _STEPS:

        @wrap(keras.trainer, f"make_{kind}_function")
        def _(original: Callable, self: Any, force: bool = False, kind: str = kind) -> None:
            name = f"{kind}_function"
            _refuse_compilation(self, lib.distribution())
            original(self, force)
            made = getattr(self, name)
            if not isinstance(made, ShardedStep):
                setattr(self, name, ShardedStep(self, made, lib.distribution))

    if hasattr(keras.trainer, "_initialize_ddp"):

        @wrap(keras.trainer, "_initialize_ddp")
        def _(original: Callable, self: Any) -> None:
            if lib.distribution() is None:
                original(self)

        @wrap(keras.trainer, "get_metrics_result")
        def _(original: Callable, self: Any) -> Any:
            if lib.distribution() is None:
                return original(self)
            trainer: Any = keras.trainer
            return super(trainer, self).get_metrics_result()  # the metrics are of all ranks already


def _refuse_compilation(model: Any, distribution: Any) -> None:
    if distribution is not None and model.jit_compile and not model.run_eagerly and not compiling.records():
        raise ValueError(
            f"[W067] jit_compile=True under {type(distribution).__name__}: sharded tensors run under torch.compile "
            "only while weft.compile_graphs() is on, which this torch may be too old for; call it on every rank, or "
            "compile the model with "
            "jit_compile=False (or 'auto', which means the same on torch)"
        )
