"""Model.export of sharded variables: rank 0 exports the whole model, as one process has it; the others send it their
parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import weft
from weft.module import swap_impl

from . import saving, values, versions
from .hooks import wrap


def _sharded(layer: Any) -> list[Any]:
    return list({id(v): v for v in layer.variables if weft.is_sharded(v._value)}.values())


@contextmanager
def _as_one_process(variables: list[Any], lib: Any) -> Iterator[None]:
    """The variables hold their full values, and there is no distribution."""
    plain = [torch.nn.Parameter(values.full(v._value), requires_grad=v._value.requires_grad) for v in variables]
    distribution = lib.distribution()

    def swap() -> None:
        for v, other in zip(variables, plain, strict=True):
            swap_impl(v._value, other)

    lib.set_distribution(None)
    swap()
    try:
        yield
    finally:
        swap()
        lib.set_distribution(distribution)


def install(keras: versions.Keras) -> None:
    from keras import Model
    from keras.export import ExportArchive

    lib = keras.distribution

    @wrap(Model, "export")
    def _(original: Callable, self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        variables = _sharded(self)
        if not variables:
            return original(self, filepath, *args, **kwargs)

        def export() -> Any:
            with _as_one_process(variables, lib):
                return original(self, filepath, *args, **kwargs)

        def send() -> None:
            for v in variables:
                values.full(v._value)

        return saving.once(lib.distribution(), f"exporting a model to {filepath}", export, send)

    @wrap(ExportArchive, "track_and_add_endpoint")
    def _(original: Callable, self: Any, name: str, resource: Any, *args: Any, **kwargs: Any) -> Any:
        if _sharded(resource):
            raise ValueError(
                f"[W131] ExportArchive: endpoint {name!r} would trace {getattr(resource, 'name', resource)!r}, whose "
                "variables are sharded. model.export(path) writes the whole model from rank 0; or save it, and make "
                "the archive in a program that sets no distribution"
            )
        return original(self, name, resource, *args, **kwargs)
