"""enable(): puts the hooks in place, all of them or none."""

from __future__ import annotations

import os
import sys

import torch

from . import backend, data, exporting, layouts, saving, steps, values, variables, versions

_enabled: versions.Keras | None = None


def enable() -> str:
    """Makes `keras.distribution` work on the torch backend. Returns Keras's version; a second call changes nothing.

    Raises:
        ImportError: no Keras, a release that Weft does not know, or another backend than torch. Nothing is changed.
    """
    global _enabled
    if _enabled is None:
        keras = versions.find()
        for hooks in (backend, layouts, values, variables, data, steps, saving, exporting):
            hooks.install(keras)
        _enabled = keras
        if os.environ.get("RANK", "0") == "0":
            print(f"weft.keras: enabled for Keras {keras.version} on torch {torch.__version__}", file=sys.stderr)
    return _enabled.version


def enabled_version() -> str | None:
    """The version of the Keras that `enable` found; None: not enabled."""
    return _enabled.version if _enabled else None
