"""A group of one rank (NCCL for tensors on a GPU): meshes of one to three axes give plain torch's numbers.

Axes of size one move nothing, so this checks that groups are made and ops run, not NCCL's own transfers: those need two
cards. A c10d all-reduce by hand shows that the group itself works.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft
from common import device_option, exact, relative, require, row, timing

AXES = ("a", "b", "c")


def loss_of(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    h = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:]), weight, bias))
    return F.cross_entropy(h, h.detach().argmax(-1) // 2) + F.dropout(h, 0.0).softmax(-1).square().mean()


def main(device: str) -> None:
    exact()
    timing.one_rank(device)
    torch.manual_seed(0)
    one = torch.ones(3, device=device)
    dist.all_reduce(one)
    require(one.tolist() == [1, 1, 1], "all_reduce of one rank changed the value")
    whole = [torch.randn(s, device=device).requires_grad_() for s in ((12, 32), (24, 32), (24,))]
    want = loss_of(*whole)
    gradients = torch.autograd.grad(want, whole)
    for n in range(1, 4):
        mesh = weft.DeviceMesh((1,) * n, AXES[:n], device_type=device)
        parts = [weft.distribute_tensor(t.detach(), AXES[:n][: t.dim()] + (None,) * (t.dim() - n), mesh) for t in whole]
        for p in parts:
            p.requires_grad_()
        got = loss_of(*parts)
        got.backward()
        require(got.device.type == device, f"the loss is on {got.device}")
        worst = max(relative(weft.full_tensor(p.grad), g) for p, g in zip(parts, gradients, strict=True))
        worst = max(worst, relative(weft.full_tensor(got.detach()), want.detach()))
        require(worst < 1e-6, f"mesh of {n} axes: off by {worst:.2g}")
        backend = "NCCL" if device == "cuda" else "Gloo"
        row(f"{backend} group of one, {n}-D mesh", f"loss and gradients within {worst:.1g} of plain torch's")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(device_option(__doc__))
