"""Fine-tunes a causal language model of Hugging Face's, read straight into shards, and saves it for transformers.

    torchrun --nproc-per-node 4 examples/finetune_hf.py --model FOLDER --out /tmp/tuned
    torchrun --nproc-per-node 4 examples/finetune_hf.py --out /tmp/tuned    # with a tiny Llama that it makes first

Over "model" the weights are split by the model's own tensor-parallel plan, over "data" as FSDP does, as is the batch.
"""

import argparse
import tempfile

import torch
import weft
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

BATCH, LENGTH = 8, 32


def make_checkpoint(folder: str) -> None:
    """Made on every rank, as it draws random numbers; written by one."""
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=256
    )
    model = LlamaForCausalLM(config)
    if weft.rank() == 0:
        model.save_pretrained(folder)
    if weft.world_size() > 1:
        torch.distributed.barrier()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder with config.json and safetensors files")
    parser.add_argument("--out", required=True, help="folder for the tuned model")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    weft.initialize()
    folder = args.model or f"{tempfile.gettempdir()}/weft-tiny-llama"
    if not args.model:
        make_checkpoint(folder)
    ranks = weft.world_size()
    shape = (2, ranks // 2) if ranks % 2 == 0 else (ranks, 1)
    mesh = weft.DeviceMesh(shape, ("data", "model"), device_type="cpu")  # "cuda": model and batch go there, too
    model = weft.hf.from_pretrained(
        AutoModelForCausalLM,
        folder,
        layouts=lambda m: weft.layouts.fsdp(m, mesh, "data") | weft.hf.layouts(m, mesh, "model"),
        mesh=mesh,
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    # In place of tokens of your own: sentences that count.
    sentences = (torch.arange(BATCH)[:, None] * 7 + torch.arange(LENGTH)) % 256
    batch = weft.shard_batch({"input_ids": sentences, "labels": sentences}, mesh, "data")
    for step in range(args.steps):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == args.steps - 1:
            value = loss.item()  # a collective: on every rank, though one prints
            if weft.rank() == 0:
                print(f"step {step}: loss {value:.3f}", flush=True)
    model.save_pretrained(args.out)  # the files of the plain model, written by rank 0


if __name__ == "__main__":
    main()
