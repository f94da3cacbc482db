"""Memory that kernels take for themselves while they run: no result of an op, and gone when it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

# oneDNN's convolutions on CPUs compute on copies whose channels are padded to whole vectors of floats.
_VECTOR = 16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 8
_STRIDED = 36 << 10  # bytes, the least of a strided kernel's buffers
_FLOAT = 4  # bytes; it computes so alone, or in less
Described = dict[str, Any]  # a tensor of debug/compute_log.h


def scratch_bytes(call: Described) -> int:
    """That live beside operands and results at worst while the kernel runs; `call`: of the record of what a rank
    computes, of one of WITH_SCRATCH."""
    return max(0, WITH_SCRATCH[call["op"]](call["args"], call["results"]))


def _convolution(args: list, results: list) -> int:
    x, weight, _, *rest = args
    if _kernel(x, weight, rest[:6]) != "Mkldnn" or _is_channels_last(x):
        return 0
    blocked = _Blocked(x, weight, results[0], rest[5])
    whole = blocked.result + results[0]["bytes"]  # and brought to the order of the result
    return (
        max((blocked.input if blocked.copies_input else 0) + blocked.weight + blocked.result, whole)
        - (results[0]["bytes"])
    )


def _convolution_backward(args: list, results: list) -> int:
    grad, x, weight, _, *rest = args
    if _kernel(x, weight, rest[:6]) != "Mkldnn" or _is_channels_last(x):
        return 0
    blocked = _Blocked(x, weight, grad, rest[5])
    of_input, of_weight = (r["bytes"] if r is not None else 0 for r in results[:2])
    most = 0
    if of_input and max(rest[0]) > 1:
        # Its strided kernel computes with the channels as they are, in buffers of its own, and brings the result from
        # one order of memory to another twice.
        most = max(grad["bytes"] + blocked.weight + of_input + _STRIDED, 3 * of_input)
    elif of_input:
        most = max(blocked.result + blocked.weight + blocked.input, blocked.input + of_input)
    if of_weight:
        copied = blocked.result + blocked.weight + (blocked.input if blocked.copies_input else 0)
        most = max(most, of_input + copied, of_input + blocked.weight + of_weight)
    return most - of_input - of_weight


class _Blocked:
    """Bytes of a convolution's tensors in oneDNN's order of memory."""

    def __init__(self, x: Described, weight: Described, result: Described, groups: int) -> None:
        batch, channels, *_ = x["shape"]
        made, taken, *window = weight["shape"]
        self.copies_input = groups > 1 or channels >= _VECTOR  # a few channels are read as they are
        self.input = _FLOAT * batch * _padded(channels) * math.prod(x["shape"][2:])
        self.result = _FLOAT * batch * _padded(made) * math.prod(result["shape"][2:])
        each = made * taken if groups > 1 else _padded(made) * (_padded(taken) if self.copies_input else taken)
        self.weight = _FLOAT * each * math.prod(window)


def _padded(channels: int) -> int:
    return -(-channels // _VECTOR) * _VECTOR


def _is_channels_last(x: Described) -> bool:
    """Then there is nothing to bring into another order but weights."""
    return "strides" in x and x["strides"][1] == 1


def _kernel(x: Described, weight: Described, options: Sequence[Any]) -> str:
    """Which core takes on a CPU: told by shapes, so of tensors that have one value."""
    like = [torch.empty(()).expand(t["shape"]) for t in (x, weight)]
    stride, padding, dilation, transposed, output_padding, groups = options
    backend = torch._C._select_conv_backend(*like, None, stride, padding, dilation, transposed, output_padding, groups)
    return str(backend.name)


# Known of convolutions on CPUs.
WITH_SCRATCH = {"aten::convolution": _convolution, "aten::convolution_backward": _convolution_backward}
