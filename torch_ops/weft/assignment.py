"""What is put in the place of a sharded variable takes its layout: `.data =`, parameters, buffers and modules assigned,
`load_state_dict(assign=True)`, and the conversions that go through `Module._apply`. So does what is loaded of an
optimizer's state."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as nn_module

from . import _library  # noqa: F401
from .held import held
from .module import swap_impl
from .tensors import distribute_tensor, is_sharded, layout_of

_TENSOR: Any = torch.Tensor  # members are put in place of its own, of which its types know nothing
_MODULE: Any = torch.nn.Module
_values_are_there = False  # of parameters that are being assigned; else they may be memory that is filled later


def _check_turns(tensor: torch.Tensor, shape: torch.Size, what: str) -> None:
    """That `tensor`, which is plain, can become a sharded one of that shape and stay the same object.

    Raises:
        ValueError: it is no leaf, a view, in use by a live graph, or has a gradient of another shape.
    """
    reason = ""
    if not tensor.is_leaf or tensor._is_view():
        reason = "it is a view, or the result of other tensors"
    elif held([tensor]):
        reason = "a live autograd graph or C++ code uses it; delete the graph's results first"
    elif tensor.grad is not None and tensor.grad.shape != shape:
        reason = f"its gradient has shape {tuple(tensor.grad.shape)}; set it to None first"
    if reason:
        raise ValueError(
            f"[W056] {what}: the plain tensor of shape {tuple(tensor.shape)} cannot become sharded, of shape "
            f"{tuple(shape)}: {reason}"
        )


def _turn_sharded(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Makes a plain leaf the sharded `value`, whose memory it then shares."""
    new = value.detach()
    new.requires_grad_(tensor.requires_grad)
    if tensor.grad is not None:
        new.grad = tensor.grad if is_sharded(tensor.grad) else torch.ops.weft._as_data_of(new, tensor.grad)
    swap_impl(tensor, new)


def _keep_layout(old: torch.Tensor, new: torch.Tensor, name: str) -> torch.Tensor:
    """`new` in the place of the sharded `old`: a parameter stays the same object, anything else gives a new tensor."""
    path = torch.ops.weft.path_of(old)
    if is_sharded(new):
        if path and not torch.ops.weft.path_of(new):
            torch.ops.weft.set_path(new, path)
        return new
    is_parameter = isinstance(new, torch.nn.Parameter)
    if is_parameter:
        _check_turns(new, new.shape, path or name)
    value = torch.ops.weft._as_data_of(old, new.detach() if _values_are_there else new)
    if not is_parameter:
        return value
    _turn_sharded(new, value)
    return new


def _placed(members: dict[str, Any], name: str, new: Any) -> Any:
    """What a module is to keep under that name."""
    old = members.get(name)
    if old is None or old is new or not is_sharded(old) or not isinstance(new, torch.Tensor):
        return None
    if torch.compiler.is_dynamo_compiling() and is_sharded(new):  # its path is not recorded
        return None
    return _keep_layout(old, new, name)


def _variables(module: torch.nn.Module) -> Iterator[tuple[str, dict[str, Any], str, torch.Tensor]]:
    """Path, and where it is, of each parameter and buffer that has a value."""
    for prefix, owner in module.named_modules():
        if isinstance(owner, torch.jit.ScriptModule):
            continue
        for members in (owner._parameters, owner._buffers):
            for name, tensor in members.items():
                if tensor is not None and not torch.nn.parameter.is_lazy(tensor):
                    yield f"{prefix}.{name}" if prefix else name, members, name, tensor


def _place_module(parent: torch.nn.Module, name: str, child: Any) -> None:
    """A module in the place of another: its variables take the layouts of those of the same names."""
    if torch.compiler.is_dynamo_compiling():  # Dynamo looks into modules that it makes in another way
        return
    old = parent._modules.get(name)
    if old is None or child is None or old is child:
        return
    places = {path: tensor for path, _, _, tensor in _variables(old) if is_sharded(tensor)}
    if not places:
        return
    taken = [v for v in _variables(child) if v[0] in places and places[v[0]] is not v[3]]
    for path, _, _, tensor in taken:
        if isinstance(tensor, torch.nn.Parameter) and not is_sharded(tensor):
            _check_turns(tensor, tensor.shape, f"{name}.{path}")
    for path, members, leaf, tensor in taken:
        members[leaf] = _keep_layout(places[path], tensor, path)


def _install_data() -> None:
    original = _TENSOR.data

    def set_data(self: torch.Tensor, value: Any) -> None:
        try:
            original.__set__(self, value)  # plain tensors pay nothing more
        except RuntimeError:
            if is_sharded(self) or not is_sharded(value):
                raise
            _check_turns(self, value.shape, "data")
            _turn_sharded(self, value)

    _TENSOR.data = property(original.__get__, set_data, doc=original.__doc__)
    torch.ops.weft._python_sets_data()


def _install_apply() -> None:
    """Makes `Module._apply` lay out what its `fn` gives in a sharded variable's place."""
    original = _MODULE._apply

    def keeping(fn: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
        @functools.wraps(fn)
        def kept(tensor: torch.Tensor) -> Any:
            new = fn(tensor)
            if new is tensor or not is_sharded(tensor) or not isinstance(new, torch.Tensor):
                return new
            return _keep_layout(tensor, new, "_apply")

        vars(kept)["_weft_keeping"] = True
        return kept

    @functools.wraps(original)
    def apply(self: torch.nn.Module, fn: Callable, recurse: bool = True) -> torch.nn.Module:
        return original(self, fn if hasattr(fn, "_weft_keeping") else keeping(fn), recurse)

    _MODULE._apply = apply


def _install_loading() -> None:
    load, load_one = _MODULE.load_state_dict, _TENSOR.module_load

    @contextmanager
    def values_are_there() -> Iterator[None]:
        global _values_are_there
        before, _values_are_there = _values_are_there, True
        try:
            yield
        finally:
            _values_are_there = before

    @functools.wraps(load)
    def load_state_dict(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        with values_are_there():
            return load(self, *args, **kwargs)

    @functools.wraps(load_one)
    def module_load(self: torch.Tensor, other: torch.Tensor, assign: bool = False) -> torch.Tensor:
        if assign and is_sharded(self):
            return torch.ops.weft._as_data_of(self, other).detach()
        return load_one(self, other, assign)

    _MODULE.load_state_dict = load_state_dict
    _TENSOR.module_load = module_load


def _install_optimizer_state() -> None:
    """What `Optimizer.load_state_dict` is given whole for a sharded parameter."""
    original = torch.optim.Optimizer._process_value_according_to_param_policy

    @functools.wraps(original)
    def laid_out(
        param: torch.Tensor, value: torch.Tensor, param_id: int, param_groups: list[dict[str, Any]], key: Any = None
    ) -> torch.Tensor:
        new = original(param, value, param_id, param_groups, key)
        if key == "step" or new.shape != param.shape or not is_sharded(param) or is_sharded(new):
            return new
        return distribute_tensor(new, layout_of(param))

    optimizer: Any = torch.optim.Optimizer  # its types know nothing of members put in place of its own
    optimizer._process_value_according_to_param_policy = staticmethod(laid_out)


def install() -> None:
    """Puts the hooks into torch, once."""
    if getattr(_TENSOR, "_weft_assignment", False):
        return
    _install_data()
    _install_apply()
    _install_loading()
    _install_optimizer_state()
    nn_module.register_module_parameter_registration_hook(lambda m, name, new: _placed(m._parameters, name, new))
    nn_module.register_module_buffer_registration_hook(lambda m, name, new: _placed(m._buffers, name, new))
    nn_module.register_module_module_registration_hook(_place_module)
    _TENSOR._weft_assignment = True
