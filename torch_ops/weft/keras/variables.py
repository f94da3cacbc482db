"""Keras variables that are laid out as they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

import weft
from weft.mesh import adopt_world
from weft.module import swap_impl

from . import backend, layouts, versions
from .factories import ShardedFactories
from .hooks import wrap
from .values import is_everywhere


def layout_for(variable: Any, distribution: Any) -> Any:
    """The keras.distribution.TensorLayout of a variable of known shape.

    Raises:
        ValueError: the rule names another number of dimensions than the variable has, or several rules match.
    """
    layout = distribution.get_variable_layout(variable)
    if layout is None:
        return _replicated(variable, distribution)
    if len(layout.axes) == len(variable._shape):
        return layout
    # An optimizer's own statistics (Adafactor's rows and columns) are called like the variables that they belong to.
    if variable._layout is None and _owner_is_optimizer():
        return _replicated(variable, distribution)
    rule = rule_of(variable.path, distribution)
    raise ValueError(
        f"[W028] variable '{variable.path}' has shape {tuple(variable._shape)}, but its layout {layout.axes}"
        f"{f' (rule {rule!r})' if rule else ''} is for {len(layout.axes)} dimensions; give one entry per dimension"
    )


def rule_of(path: str, distribution: Any, module_type: str = "") -> str | None:
    """The pattern that gave a path its layout."""
    layout_map = getattr(distribution, "_layout_map", None)
    match = layouts.find(layout_map, path, module_type) if layout_map is not None else None
    return match.pattern if match else None


made = 0  # how many variables this process has made


def lay_out(variable: Any, parameter: torch.nn.Parameter, distribution: Any) -> None:
    """Makes a parameter, plain or sharded, the variable's value in its layout. It stays the same object."""
    variable._layout = layout_for(variable, distribution)
    adopt_world()
    layout = backend.weft_layout(variable._layout)
    rule = rule_of(variable.path, distribution, owner_type()) or ""
    swap_impl(parameter, torch.ops.weft._lay_out_variable(parameter, layout._object, variable.path, rule))
    variable._value = parameter


def _replicated(variable: Any, distribution: Any) -> Any:
    from keras.distribution import TensorLayout

    return TensorLayout([None] * len(variable._shape), distribution.device_mesh)


def _owner() -> Any:
    """The layer or optimizer that makes a variable now: the caller of the innermost name scope."""
    from keras.src.backend.common import global_state

    stack = global_state.get_global_attribute("name_scope_stack") or [None]
    return getattr(stack[-1], "caller", None)


def _owner_is_optimizer() -> bool:
    from keras.optimizers import Optimizer

    return isinstance(_owner(), Optimizer)


def owners(model: Any) -> dict[int, Any]:
    """The layer or optimizer that owns each variable of a model, by the variable's id."""
    found: dict[int, Any] = {}
    for layer in model._flatten_layers():
        for v in [*layer._trainable_variables, *layer._non_trainable_variables]:
            found.setdefault(id(v), layer)
    return {**found, **{id(v): model.optimizer for v in of_optimizer(model)}}


def of_optimizer(model: Any) -> list[Any]:
    """The variables of a model's optimizer, where it has one."""
    optimizer = getattr(model, "optimizer", None)
    return list(optimizer.variables) if optimizer is not None else []


def follow(variable: Any, owner: Any) -> None:
    """Gives a plain optimizer's variable the layout of the one it belongs to, whose path its name begins with."""
    if variable._layout is not None:
        return
    name = variable.path.split("/", 1)[-1]
    trained = [v for v in getattr(owner, "_trainable_variables", ()) if name.startswith(v.path.replace("/", "_") + "_")]
    reference = max(trained, key=lambda v: len(v.path), default=None)
    if reference is not None and reference.shape == variable.shape:
        variable._layout = reference._layout


def made_by(owner: Any) -> Any:
    """Context in which `owner` is taken for what makes variables."""
    from keras.src.backend.common.name_scope import name_scope

    return name_scope("owner", caller=owner)


def owner_type() -> str:
    """Class name of the layer that makes a variable now."""
    owner = _owner()
    return type(owner).__name__ if owner is not None else ""


def install(keras: versions.Keras) -> None:
    lib = keras.distribution

    @wrap(keras.core.Variable, "_initialize")
    def _(original: Callable, self: Any, value: Any) -> None:
        global made
        made += 1
        distribution = lib.distribution()
        if not isinstance(value, torch.nn.Parameter):
            value = keras.core.convert_to_tensor(value, dtype=self._dtype).to(keras.core.get_device())
            # Keras lets integers be trainable, which torch does not.
            has_gradient = self.trainable and (value.is_floating_point() or value.is_complex())
            value = torch.nn.Parameter(value, requires_grad=has_gradient)
        if distribution is None:
            original(self, value)
            return
        self._shape = self._validate_shape(value.shape)
        lay_out(self, value, distribution)

    @wrap(keras.core.Variable, "_initialize_with_initializer")
    def _(original: Callable, self: Any, initializer: Callable) -> None:
        distribution = lib.distribution()
        if distribution is None:
            original(self, initializer)
            return
        adopt_world()
        layout = backend.weft_layout(layout_for(self, distribution))
        takes_layout = "layout" in inspect.signature(initializer).parameters
        arguments = {"dtype": self._dtype, **({"layout": layout} if takes_layout else {})}
        with ShardedFactories(self._shape, layout), weft.random_mode("replay"):
            value = self._convert_to_tensor(initializer(self._shape, **arguments), dtype=self._dtype)
        self._initialize(value)

    @wrap(lib.ModelParallel, "get_variable_layout")
    def _(original: Callable, self: Any, variable: Any) -> Any:
        if getattr(variable, "_layout", None) is None:
            match = layouts.find(self._layout_map, variable.path, owner_type())
            if match is not None:
                return match.layout
        return original(self, variable)

    @wrap(keras.core.Variable, "__repr__")
    def _(original: Callable, self: Any) -> str:
        value = getattr(self, "_value", None)
        if value is None or is_everywhere(value):
            return original(self)
        # A value that is read from all ranks must not be read by whoever prints something.
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, layout={weft.layout_of(value)}>"
