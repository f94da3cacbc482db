"""TorchScript with its fuser on two ranks of one card: a function that was fused for plain tensors gets sharded ones.

The fuser's kernels read memory by themselves; on a sharded tensor that would be the shard's, or none. So sharded
tensors must go through the ops one by one, before and after plain ones were fused, forward and backward.
"""

import torch
import torch.distributed as dist
import weft
from common import device_option, relative, require, row, timing

RANKS, RUNS = 2, 4  # the profiling executor fuses from its third run on


@torch.jit.script
def pointwise(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x * y + x) * torch.tanh(y) - 0.5 * x


def fused() -> bool:
    graph = str(torch.jit.last_executed_optimized_graph())
    return "TensorExprGroup" in graph or "FusionGroup" in graph


def run(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """Value and gradients of the last of several runs."""
    for _ in range(RUNS):
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        out = pointwise(x, y)
        out.sum().backward()
    return [out.detach(), x.grad, y.grad]


def rank(device: str) -> bool:
    """Whether plain tensors were fused."""
    torch._C._jit_set_profiling_executor(True)
    torch._C._jit_set_profiling_mode(True)
    torch._C._jit_override_can_fuse_on_gpu(True)
    torch._C._jit_set_texpr_fuser_enabled(True)
    mesh = weft.DeviceMesh((RANKS,), ("a",), device_type=device)
    torch.manual_seed(0)
    full = torch.randn(2, 6, 8, device=device).unbind()
    x, y = full[0], full[1]
    want = [torch.sigmoid(x * y + x) * torch.tanh(y) - 0.5 * x]

    def check(axes: tuple, when: str) -> None:
        parts = [weft.distribute_tensor(t, axes, mesh) for t in full]
        for got, wanted in zip(run(*parts), want, strict=True):
            require(weft.is_sharded(got), f"{when}: the result of sharded tensors is plain")
            require(relative(weft.full_tensor(got), wanted) < 1e-5, f"{when}, layout {axes}: wrong values")

    plain = run(x, y)
    was_fused = fused()
    want += plain[1:]
    require(relative(plain[0], want[0]) < 1e-5, "plain tensors: wrong values")
    for axes in (("a", None), (None, "a")):
        check(axes, "after plain tensors")
    run(x, y)
    check(("a", None), "after plain tensors again")
    dist.barrier()
    return was_fused


def main(device: str) -> None:
    was_fused = timing.gloo_ranks(RANKS, rank, device)
    note = "were fused" if was_fused else "were NOT fused, so this shows little"
    row("scripted pointwise function", f"right on sharded tensors, forward and backward; plain tensors {note}")
    require(was_fused or device == "cpu", "the fuser did not fuse plain tensors")


if __name__ == "__main__":
    main(device_option(__doc__))
