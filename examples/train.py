"""Trains a small language model from scratch on its own source text, over a mesh of two axes.

    torchrun --nproc-per-node 4 examples/train.py --checkpoint /tmp/model
    torchrun --nproc-per-node 2 examples/train.py --checkpoint /tmp/model --steps 200    # goes on where the first ended

Weights are split over both axes (FSDP and tensor parallelism), the batch over "data". On one process it runs as well.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
import weft
from torch import nn

LENGTH, WIDTH, HEADS, BATCH = 64, 128, 4, 8


class Model(nn.Module):
    """Bytes in, logits of the next byte out. Nothing in it knows of shards."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        hidden = self.bytes(x) + self.places(torch.arange(x.shape[1]))
        return self.head(self.layers(hidden, mask=mask, is_causal=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a folder: loaded if it is there, written at the end")
    parser.add_argument("--steps", type=int, default=100, help="until which step to train")
    args = parser.parse_args()

    weft.initialize()
    ranks = weft.world_size()
    shape = (2, ranks // 2) if ranks % 2 == 0 else (ranks, 1)
    mesh = weft.DeviceMesh(shape, ("data", "model"), device_type="cpu")  # "cuda": model and batch go there, too
    torch.manual_seed(0)
    model = Model()
    layouts = weft.layouts.fsdp(model, mesh, "data") | weft.layouts.megatron(model, mesh, "model")
    weft.distribute_module(model, layouts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = 0
    if args.checkpoint and args.checkpoint.exists():
        start = weft.load(args.checkpoint, model, optimizer).step

    text = torch.tensor(list(Path(__file__).read_bytes()))
    for step in range(start, args.steps):
        places = torch.randint(len(text) - LENGTH, (BATCH, 1)) + torch.arange(LENGTH + 1)  # the same on every rank
        chunk = weft.shard_batch(text[places], mesh, "data")
        logits = model(chunk[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == args.steps - 1:
            value = loss.item()  # a collective: on every rank, though one prints
            if weft.rank() == 0:
                print(f"step {step}: loss {value:.3f}", flush=True)
    if args.checkpoint:
        weft.save(args.checkpoint, model, optimizer, step=args.steps)


if __name__ == "__main__":
    main()
