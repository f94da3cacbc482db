"""An initializer's tensors, made shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import weft


def _size_first(names: Sequence[str]) -> Callable:
    """Arguments by name of a factory whose size may also come as so many ints."""

    def bind(args: tuple, kwargs: dict) -> dict:
        if args and isinstance(args[0], int):
            args = (args,)
        return {**dict(zip(("size", *names), args, strict=False)), **kwargs}

    return bind


def _normal(args: tuple, kwargs: dict) -> dict:
    return {**dict(zip(("mean", "std", "size"), args, strict=False)), **kwargs}


# factory -> its arguments by name, and how it fills an empty tensor
_FACTORIES: dict[Callable, tuple[Callable, Callable]] = {
    torch.empty: (_size_first(()), lambda t, a: t),
    torch.zeros: (_size_first(()), lambda t, a: t.zero_()),
    torch.ones: (_size_first(()), lambda t, a: t.fill_(1)),
    torch.full: (_size_first(("fill_value",)), lambda t, a: t.fill_(a["fill_value"])),
    torch.rand: (_size_first(()), lambda t, a: t.uniform_(generator=a.get("generator"))),
    torch.randn: (_size_first(()), lambda t, a: t.normal_(generator=a.get("generator"))),
    torch.normal: (_normal, lambda t, a: t.normal_(a["mean"], a["std"], generator=a.get("generator"))),
}


class ShardedFactories(TorchFunctionMode):
    """While it is entered, torch's factories make tensors of one shape sharded, so that the full one never exists on a
    rank. Shapes that begin with it (TruncatedNormal draws four candidates for each value) count too.

    Args:
        shape: the variable's.
        layout: the variable's.
    """

    def __init__(self, shape: Sequence[int], layout: weft.TensorLayout) -> None:
        super().__init__()
        self._shape, self._layout = tuple(shape), layout
        self._splits = any(layout.axes)

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if not self._splits or function not in _FACTORIES:
            return function(*args, **kwargs)
        bind, fill = _FACTORIES[function]
        arguments = bind(args, kwargs)
        size = arguments.get("size")
        if size is None or tuple(size[: len(self._shape)]) != self._shape or arguments.get("device") == "meta":
            return function(*args, **kwargs)
        return fill(self._empty(tuple(size), arguments.get("dtype"), arguments.get("device")), arguments)

    def _empty(self, size: tuple[int, ...], dtype: torch.dtype | None, device: Any) -> torch.Tensor:
        more = len(size) - len(self._shape)
        layout = weft.TensorLayout((*self._layout.axes, *(None,) * more), self._layout.device_mesh)
        device = torch.device(device) if device is not None else None
        return torch.ops.weft._empty(size, layout._object, dtype=dtype, device=device)
