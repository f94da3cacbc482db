"""A Keras model as what the picture shows: its layers in order, each with the variables of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import weft
from weft.drawing.held import shown
from weft.drawing.layers import Group, Layer


def layers_of(model: Any) -> list[Layer]:
    """The model's layers in its order."""
    return [Layer(layer.name, type(layer).__name__, list(_groups(layer))) for layer in model.layers]


def _groups(layer: Any, name: str = "") -> Iterator[Group]:
    """The layer's own variables, then those of the layers in it. The seeds of random layers are no weights."""
    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    found = [shown(v.name, v.shape, weft.layout_of(v.value)) for v in variables if "seed" not in v.name]
    if found:
        yield Group(name or layer.name, found)
    for child in layer._flatten_layers(include_self=False, recursive=False):
        yield from _groups(child, child.name)
