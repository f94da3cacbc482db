"""Plain values, numbers and random states that differ between the ranks."""

import torch
import torch.nn.functional as F
import weft
from faults.part import Part
from faults.row import row
from torch import nn

BOTH = (r"rank 0\b", r"rank 1\b")


@row(*BOTH, r"\[add")
def plain_operand_differs(p: Part) -> None:
    """a small plain operand differs."""
    plain, sharded = p.rows()
    other = torch.full((4,), float(p.pick(1, 2)))
    p.check_full(sharded + other, plain + other)


@row(*BOTH, r"\[linear|\[mm|\[addmm|\[matmul")
def plain_batch_differs(p: Part) -> None:
    """each rank feeds a plain batch of its own to a sharded model."""
    layer = nn.Linear(8, 8)
    weft.distribute_module(layer, {"weight": ("a", None)}, mesh=p.mesh)
    weight, bias = (weft.full_tensor(t.detach()) for t in (layer.weight, layer.bias))
    batch = torch.randn(64, 8) + p.pick(0, 1)
    with torch.no_grad():
        p.check_full(layer(batch), batch @ weight.t() + bias)


@row(*BOTH)
def laid_out_batch_differs(p: Part) -> None:
    """each rank lays out a batch of its own, with the values of the others' taken as its own."""
    plain = torch.randn(4, 8) + p.pick(0, 1)
    sharded = weft.shard_batch(plain, p.mesh, "a")
    p.check_full(sharded, plain)


@row(*BOTH, r"\[mul")
def scalar_differs(p: Part) -> None:
    """a Python number differs."""
    plain, sharded = p.rows()
    factor = p.pick(2.0, 3.0)
    p.check_full(sharded * factor, plain * factor)


@row(*BOTH, r"\[_foreach_mul")
def foreach_scalars_differ(p: Part) -> None:
    """one number of a foreach op's list differs, as learning rates of foreach optimizers do."""
    plain, sharded = p.rows()
    factors = [2.0, p.pick(2.0, 3.0)]
    (_, got), (_, want) = (torch._foreach_mul([t, t], factors) for t in (sharded, plain))
    p.check_full(got, want)


@row(*BOTH)
def adam_rate_differs(p: Part) -> None:
    """a foreach Adam has another learning rate on one rank."""
    plain = nn.Parameter(torch.ones(p.ranks, 4))
    sharded = nn.Parameter(p.lay(plain.detach(), ("a", None)))
    rate = p.pick(0.1, 0.2)
    for t in (plain, sharded):
        t.grad = torch.ones_like(t)
        torch.optim.Adam([t], lr=rate, foreach=True).step()
    p.check_full(sharded.detach(), plain.detach())


@row(*BOTH)
def gathered_draws_differ(p: Part) -> None:
    """one rank drew a random number more, before an op that has no rule and draws from core's own stream."""
    plain = torch.arange(1.0, 8 * p.ranks + 1).view(p.ranks, 8)
    sharded = p.lay(plain, ("a", None))
    if p.odd():
        torch.rand(3)
    state = torch.get_rng_state()
    drawn = torch.multinomial(sharded, 4)
    torch.set_rng_state(state)
    p.check_full(sharded[:, :4] * drawn, plain[:, :4] * torch.multinomial(plain, 4))


@row(*BOTH)
def generators_came_apart(p: Part) -> None:
    """one rank drew a random number more, before dropout."""
    plain = torch.ones(p.ranks, 64)
    sharded = p.lay(plain, ("a", None))
    if p.odd():
        torch.rand(1)
    dropped = F.dropout(sharded, 0.5)
    kept = weft.full_tensor(dropped)
    p.check(kept * (kept - 2), torch.zeros_like(plain), "dropout")


@row(*BOTH)
def generators_came_apart_in_replay(p: Part) -> None:
    """one rank drew a random number more, before dropout with torch's own stream."""
    weft.random_mode("replay")
    generators_came_apart(p)


@row(*BOTH)
def seeds_differ(p: Part) -> None:
    """one rank has another seed, and lays out the weights that it made from it."""
    torch.manual_seed(p.pick(0, 1))
    layer = nn.Linear(8, 8)
    weft.distribute_module(layer, {"weight": ("a", None)}, mesh=p.mesh)
    plain = layer.weight.detach()
    p.check(weft.full_tensor(plain).isfinite().all(), True)
    F.dropout(p.lay(torch.ones(4, 8), ("a", None)), 0.5).sum().item()
    p.go_on()


@row(*BOTH)
def index_differs(p: Part) -> None:
    """an integer index differs."""
    plain, sharded = p.rows()
    i = p.pick(0, 1)
    p.check_full(sharded[i], plain[i])


@row(*BOTH)
def mask_differs(p: Part) -> None:
    """a plain mask differs in one element."""
    plain, sharded = p.rows()
    mask = torch.zeros(4, dtype=torch.bool)
    mask[p.pick(1, 2)] = True
    p.check_full(sharded.masked_fill(mask, -1), plain.masked_fill(mask, -1))
