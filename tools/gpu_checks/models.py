"""Tiny stock models on four Gloo ranks of one card, mesh (2, 2), beside the same model whole on that card.

In float32 loss and gradients must be the whole model's. In bfloat16 with autocast rounding differs wherever sums are
split, so both are measured against float32, and the sharded model may be off by about as much as the whole one.
"""

import importlib.util
import math

import torch
import weft
from common import device_option, exact, require, row, timing
from ranks import models
from torch import nn

RANKS = 4


class Encoder(nn.Module):
    """In place of transformers' models where that is not installed."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(96, 32)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True) for _ in range(2)))
        self.head = nn.Linear(32, 96)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(
            self.head(self.layers(self.embed(input_ids))).flatten(0, 1), labels.flatten()
        )


ENCODER_PLAN = {
    r"layers/\d+/(self_attn/in_proj_weight|linear1/weight)": ("model", None),
    r"layers/\d+/(self_attn/out_proj/weight|linear2/weight)": (None, "model"),
    r"(embed|head)/weight": ("model", None),
}


def build(name: str, device: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    if name == "encoder":
        torch.manual_seed(0)
        ids = torch.randint(0, 96, (4, 8))
        model, batch = Encoder(), {"input_ids": ids, "labels": ids}
    else:
        model, batch = models.build(name)
    return model.to(device), {key: value.to(device) for key, value in batch.items()}


def step(model: nn.Module, batch: dict, device: str, autocast: bool) -> torch.Tensor:
    """The loss and all gradients, one after the other, as one plain tensor."""
    model.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        out = model(**batch)
    loss = out if isinstance(out, torch.Tensor) else out.loss
    loss.backward()
    whole = [loss.detach().float()] + [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([(weft.full_tensor(t) if weft.is_sharded(t) else t).flatten() for t in whole])


def rank(names: list[str], device: str) -> dict[str, dict]:
    exact()
    return {name: compare(name, device) for name in names}


def compare(name: str, device: str) -> dict[str, tuple[float, float]]:
    """How far loss and gradients are from those of the whole model in float32."""
    plain, batch = build(name, device)
    sharded, _ = build(name, device)
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type=device)
    weft.distribute_module(sharded, ENCODER_PLAN if name == "encoder" else models.PLANS[name], mesh=mesh)
    parts = weft.shard_batch(batch, mesh, "data")
    want = step(plain, batch, device, False)

    def off(got: torch.Tensor) -> tuple[float, float]:
        """How far off it is: the relative loss, and the norm of all gradients."""
        difference = got.double() - want.double()
        return abs(difference[0] / want[0]).item(), (difference[1:].norm() / want[1:].double().norm()).item()

    return {
        "float32": off(step(sharded, parts, device, False)),
        "bfloat16": off(step(sharded, parts, device, True)),
        "plain bfloat16": off(step(plain, batch, device, True)),
    }


def main(device: str) -> None:
    names = sorted(models.PLANS)
    if importlib.util.find_spec("transformers") is None:
        row("transformers is not installed", "a torch.nn.TransformerEncoder stands for its models")
        names = ["encoder"]
    wrong = []
    for name, off in timing.gloo_ranks(RANKS, rank, names, device).items():
        row(
            name,
            f"float32: loss {off['float32'][0]:.1g}, gradients {off['float32'][1]:.1g} off the whole model; bfloat16: "
            f"gradients {off['bfloat16'][1]:.2g}, whole model in bfloat16 {off['plain bfloat16'][1]:.2g}",
        )
        if not max(off["float32"]) < 1e-4:
            wrong.append(f"{name} in float32")
        for got, plain in zip(off["bfloat16"], off["plain bfloat16"], strict=True):
            # With other seeds the whole model alone is off by between half and twice as much.
            if not (math.isfinite(got) and got < 3 * plain + 0.01):
                wrong.append(f"{name} in bfloat16")
    require(not wrong, f"off by too much: {', '.join(wrong)}")


if __name__ == "__main__":
    main(device_option(__doc__))
