"""A Keras model as what the picture shows: its layers in order, each with the variables of its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from parts import Box, holders


class Shown(NamedTuple):
    """A variable folded to a rectangle of `rows` by `columns`, and who holds which part of it."""

    name: str
    shape: tuple[int, ...]
    rows: int
    columns: int
    parts: list[tuple[tuple[float, float, float, float], list[int]]]  # top, bottom, left, right from 0 to 1; ranks


class Part(NamedTuple):
    """A layer without layers in it, inside the layer that is shown."""

    name: str
    variables: list[Shown]


class Layer(NamedTuple):
    """A layer of the model; without parts it has no variables."""

    name: str
    kind: str
    parts: list[Part]


def layers_of(model: Any, boxes: dict[str, list[Box]]) -> list[Layer]:
    """The model's layers in its order."""
    return [Layer(layer.name, type(layer).__name__, list(_parts(layer, boxes))) for layer in model.layers]


def _parts(layer: Any, boxes: dict[str, list[Box]], name: str = "") -> Iterator[Part]:
    """The layer's own variables, then those of the layers in it. The seeds of random layers are no weights."""
    variables = [v for v in [*layer._trainable_variables, *layer._non_trainable_variables] if v.path in boxes]
    shown = [fold(v.name, tuple(v.shape), boxes[v.path]) for v in variables if "seed" not in v.name]
    if shown:
        yield Part(name or layer.name, shown)
    for child in layer._flatten_layers(include_self=False, recursive=False):
        yield from _parts(child, boxes, child.name)


def fold(name: str, shape: tuple[int, ...], boxes: Sequence[Box]) -> Shown:
    """A variable of any rank as a rectangle: its first dimensions are the rows, its last ones the columns; as square as
    can be with every split still to be seen."""
    spans = [[box[2 * d : 2 * d + 2] for d in range(len(shape))] for box in boxes]
    split = [d for d, size in enumerate(shape) if any(span[d] != [0, size] for span in spans)]
    folds = [
        f
        for f in range(min(1, len(shape) - 1), len(shape))
        if sum(d < f for d in split) < 2 and sum(d >= f for d in split) < 2
    ]
    sizes = {f: (math.prod(shape[:f]), math.prod(shape[f:])) for f in folds}
    at = min(folds, key=lambda f: abs(math.log(sizes[f][0] / sizes[f][1])))

    def along(box: Box, dims: range) -> tuple[float, float]:
        d = next((d for d in split if d in dims), None)
        return (0.0, 1.0) if d is None else (box[2 * d] / shape[d], box[2 * d + 1] / shape[d])

    parts = [
        ((*along(list(box), range(at)), *along(list(box), range(at, len(shape)))), ranks)
        for box, ranks in holders(list(boxes)).items()
    ]
    return Shown(name, shape, *sizes[at], parts)
