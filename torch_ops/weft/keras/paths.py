"""Keras variable paths <-> the names that torch knows the same variables by."""

from __future__ import annotations

import torch

from ..strings import checked


def keras_path(name: str) -> str:
    """The Keras path of a name of `named_parameters()`: what stands behind "_torch_params.", else "." becomes "/"."""
    return torch.ops.weft.keras_path(checked(name, "keras_path: the name"))


def torch_name(path: str, prefix: str = "") -> str:
    """The torch name of a path: "/" becomes "."; with the prefix of a Keras model ("_torch_params.",
    "_functional._torch_params.") that is put in front and the path stays as it is.

    torch_name(keras_path(name), prefix) == name for every parameter of a Keras model.
    """
    return torch.ops.weft.torch_name(checked(path, "torch_name: the path"), checked(prefix, "torch_name: the prefix"))
