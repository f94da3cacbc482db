"""Programs in which no rank does otherwise, though they may look so: nothing raises."""

import copy

import torch
import torch.nn.functional as F
import weft
from faults.part import Part
from faults.row import row
from torch import nn
from torch.utils.checkpoint import checkpoint

STEPS = 20
RULES = {
    ".*(linear1|in_proj).*weight": ("a", None),
    ".*(linear2|out_proj).*weight": (None, "a"),
    "0/weight": ("a", None),
}


def train(p: Part, model: nn.Module, plain: nn.Module | None, batch_shape: tuple[int, ...]) -> None:
    """AdamW, clipping, accumulation over two batches, evaluation in between, and logging on rank 0 alone."""
    models = [m for m in (plain, model) if m]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3) for m in models]
    p.tell("mark")
    for step in range(STEPS):
        losses = []
        for half in range(2):
            x = torch.randn(batch_shape, generator=torch.Generator().manual_seed(2 * step + half))
            losses = [m(weft.shard_batch(x, p.mesh, "a") if m is model else x).square().mean() for m in models]
            for loss in losses:
                (loss / 2).backward()
        for m, optimizer in zip(models, optimizers, strict=True):
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        value = losses[-1].item()
        if p.rank == 0:
            print(f"step {step}: loss {value:.4f}, lr {optimizers[-1].param_groups[0]['lr']}")
        if plain:
            p.check(value, losses[0], f"loss of step {step}")
        if step % 5 == 4:
            model.eval()
            with torch.no_grad():
                p.check(model(weft.shard_batch(x, p.mesh, "a")).isfinite().all().item(), True)
            model.train()


def distributed(p: Part, model: nn.Module) -> nn.Module:
    weft.distribute_module(model, RULES, mesh=p.mesh)
    return model


@row(expect="right")
def trains_mlp(p: Part) -> None:
    """an MLP trains for twenty steps, with the losses of the plain one."""
    plain = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 4))
    train(p, distributed(p, copy.deepcopy(plain)), plain, (4 * p.ranks, 8))


@row(expect="right", ranks=3)
def trains_mlp_on_three(p: Part) -> None:
    """an MLP trains for twenty steps on three ranks, with the losses of the plain one."""
    trains_mlp(p)


@row(expect="right", ranks=4)
def trains_transformer(p: Part) -> None:
    """a transformer with dropout trains for twenty steps."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True)
    train(p, distributed(p, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)), None, (p.ranks, 6, 16))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = x + checkpoint(self.block, x, use_reentrant=False)
        return x

    def block(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear2(F.dropout(F.relu(self.linear1(x)), 0.2, self.training))


@row(expect="right")
def trains_checkpointed(p: Part) -> None:
    """activations are computed again in backward, with dropout, for twenty steps."""
    train(p, distributed(p, Checkpointed()), None, (4 * p.ranks, 8))


@row(expect="right")
def reads_on_one_rank(p: Part) -> None:
    """rank 0 alone looks at plain values, local parts, shapes and layouts between collectives."""
    plain, sharded = p.rows()
    p.tell("mark")
    for i in range(5):
        whole = weft.full_tensor(sharded * i)
        if p.rank == 0:
            print(whole.sum().item(), weft.local_tensor(sharded).sum().item(), sharded.shape, weft.layout_of(sharded))
        p.check(whole, plain * i)


@row(expect="right")
def makes_other_plain_tensors(p: Part) -> None:
    """each rank computes with plain tensors of its own that no sharded one meets."""
    p.tell("mark")
    for i in range(5):
        own = torch.full((p.rank + 1, 3), float(p.rank))
        (own @ own.t()).softmax(-1).sum().item()
        plain, sharded = p.rows(i)
        p.check_full(sharded, plain)


@row(expect="right", env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
def trains_under_detail(p: Part) -> None:
    """TORCH_DISTRIBUTED_DEBUG=DETAIL: an MLP trains for twenty steps."""
    trains_mlp(p)
