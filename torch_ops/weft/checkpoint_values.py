"""What a checkpoint holds beside the model's variables, as JSON and tensors with names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .strings import checked

# Objects of one key, which say what JSON cannot.
_TENSOR, _TUPLE, _ITEMS, _NUMBER = "weft:tensor", "weft:tuple", "weft:items", "weft:number"


def encode(value: Any, name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The value as JSON, and the tensors in it, by where they are in it: "extra.scales.0".

    Raises:
        ValueError: naming the place of what is neither None, a number, a string, a tensor, nor a dict, list or tuple.
    """
    tensors: dict[str, torch.Tensor] = {}

    def put(value: Any, place: str) -> Any:
        if isinstance(value, torch.Tensor):
            while place in tensors:  # a key may itself have dots
                place += "'"
            tensors[place] = value
            return {_TENSOR: place}
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return checked(value, f"save: {place}")
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {_NUMBER: repr(float(value))}
        if isinstance(value, Mapping):
            if all(isinstance(k, str) and not k.startswith("weft:") for k in value):
                return {checked(k, f"save: a key of {place}"): put(v, f"{place}.{k}") for k, v in value.items()}
            return {_ITEMS: [[put(k, f"{place} (a key)"), put(v, f"{place}.{k}")] for k, v in value.items()]}
        if isinstance(value, (list, tuple)):
            items = [put(v, f"{place}.{i}") for i, v in enumerate(value)]
            return {_TUPLE: items} if isinstance(value, tuple) else items
        raise ValueError(
            f"[W117] save: {place} is of type {type(value).__name__}; what is saved must be made of None, numbers, "
            "strings, tensors, dicts, lists and tuples"
        )

    return put(value, name), tensors


def decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """What `encode` was given; lists in place of named tuples, dicts in place of other mappings."""
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (kind, content), *_ = value.items()
        if kind == _TENSOR:
            return tensors[content]
        if kind == _TUPLE:
            return tuple(decode(v, tensors) for v in content)
        if kind == _ITEMS:
            return {decode(k, tensors): decode(v, tensors) for k, v in content}
        if kind == _NUMBER:
            return float(content)
    return {k: decode(v, tensors) for k, v in value.items()}


def tensor_at(name: str) -> dict[str, str]:
    """What `encode` puts in the place of a tensor."""
    return {_TENSOR: name}


def tensor_names(value: Any) -> list[str]:
    """The names of the tensors in an encoded value."""
    if isinstance(value, list):
        return [name for v in value for name in tensor_names(v)]
    if not isinstance(value, dict):
        return []
    if list(value) == [_TENSOR]:
        return [value[_TENSOR]]
    return [name for v in value.values() for name in tensor_names(v)]
