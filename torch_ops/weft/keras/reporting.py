"""What each variable of a Keras model got, and what looks odd about it."""

from __future__ import annotations

import json
from typing import Any

import torch

import weft
from weft.reporting import Report

from . import layouts


def report(model: Any, distribution: Any = None) -> Report:
    """A row for every variable of the model (path, rule, layout, bytes), and notes: rules that match nothing, large
    variables that no rule matched, near misses, ambiguous rules, dimensions that do not divide.

    Args:
        model: built.
        distribution: default: the active one.

    Raises:
        ValueError: no distribution; a model without variables yet.
    """
    import keras

    distribution = distribution if distribution is not None else keras.distribution.distribution()
    if distribution is None:
        raise ValueError("report: no distribution is set; pass one, or call keras.distribution.set_distribution first")
    owners = owner_types(model)
    rows = list({id(v): v for v in model.variables if v._value is not None}.values())
    if not rows:
        raise ValueError("report: the model has no variables yet; build it first (model.build, or call it once)")
    layout_map = getattr(distribution, "_layout_map", None)
    rules = (
        layouts.weft_map(layout_map)
        if layout_map is not None
        else weft.LayoutMap(distribution.device_mesh.backend_mesh)
    )
    shapes: list[int] = []
    for v in rows:
        shapes += [len(v.shape), *v.shape]
    text, data = torch.ops.weft.report(
        rules._object,
        [v.path for v in rows],
        shapes,
        [v._value.element_size() for v in rows],
        [owners.get(id(v), "") for v in rows],
        [torch.ops.weft.layout_of(v._value) if weft.is_sharded(v._value) else None for v in rows],
    )
    return Report(text, json.loads(data))


def owner_types(model: Any) -> dict[int, str]:
    """Class name of the layer that owns each variable, by the variable's id."""
    owners: dict[int, str] = {}
    for layer in model._flatten_layers():
        for v in [*layer._trainable_variables, *layer._non_trainable_variables]:
            owners.setdefault(id(v), type(layer).__name__)
    return owners
