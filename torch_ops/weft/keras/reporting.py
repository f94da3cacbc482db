"""What each variable of a Keras model got, and what looks odd about it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch

import weft
from weft.errors import coded
from weft.reporting import Report

from . import layouts, variables


def report(model: Any, distribution: Any = None) -> Report:
    """A row for every variable of the model (path, rule, layout, bytes), and notes: rules that match nothing, large
    variables that no rule matched, near misses, ambiguous rules, dimensions that do not divide.

    Rules for layers' outputs (keys that end in "/output") count as used once the model has been called.

    Args:
        model: built.
        distribution: default: the active one.

    Raises:
        ValueError: no distribution; a model without variables yet; a rule that RE2 does not take.
    """
    import keras

    distribution = distribution if distribution is not None else keras.distribution.distribution()
    if distribution is None:
        raise ValueError(
            "[W044] report: no distribution is set; pass one, or call keras.distribution.set_distribution first"
        )
    owners = variables.owners(model)
    rows = list({id(v): v for v in model.variables if v._value is not None}.values())
    if not rows:
        raise ValueError("[W134] report: the model has no variables yet; build it first (model.build, or call it once)")
    shapes: list[int] = []
    for v in rows:
        shapes += [len(v.shape), *v.shape]
    text, data = torch.ops.weft.report(
        _rules(distribution)._object,
        [v.path for v in rows],
        shapes,
        [v._value.element_size() for v in rows],
        [type(owners[id(v)]).__name__ if id(v) in owners else "" for v in rows],
        [torch.ops.weft.layout_of(v._value) if weft.is_sharded(v._value) else None for v in rows],
    )
    return Report(text, json.loads(data))


def _rules(distribution: Any) -> weft.LayoutMap:
    layout_map = getattr(distribution, "_layout_map", None)
    if layout_map is None:
        return weft.LayoutMap(distribution.device_mesh.backend_mesh)
    rules = layouts.weft_map(layout_map)
    for path, module_type in layouts.found(layout_map):
        rules.lookup(path, module_type)  # counts
    return rules


def warn_of_unused_rules(model: Any, distribution: Any) -> None:
    """After a model's first step, on rank 0: names the rules that nothing has found, and what they nearly matched."""
    layout_map = getattr(distribution, "_layout_map", None)
    if layout_map is None or getattr(model, "_weft_checked", None) is layout_map:
        return
    object.__setattr__(model, "_weft_checked", layout_map)
    if weft.rank() > 0:
        return
    try:
        notes = report(model, distribution).notes
    except ValueError as e:
        warnings.warn(coded("W047", f"weft.keras: the rules are not checked: {e}"), stacklevel=2)
        return
    warned = vars(layout_map).setdefault("_weft_warned", set())  # several models may share a map
    unused = [n.subject for n in notes if n.kind == "unused_rule" and n.subject not in warned]
    if not unused:
        return
    warned.update(unused)
    near = {n.subject: n.text for n in reversed(notes) if n.kind == "near_miss"}
    told = "\n  ".join([near.get(rule, f"rule {rule!r} matches nothing") for rule in unused])
    warnings.warn(
        f"[W047] weft.keras: rules that nothing has found (weft.keras.report(model) says more):\n  {told}", stacklevel=2
    )
