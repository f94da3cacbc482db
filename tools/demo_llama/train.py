"""Trains an unchanged Hugging Face Llama on a 2 x 2 mesh, sharded by variable paths, beside the same model whole.

Run it with tools/demo, which starts four of these. What Weft needs is in `main`, above the loop; from there on it is
plain torch. Only rank 0 trains the model whole, and only it prints.
"""

import sys
import time
from collections.abc import Callable, Iterator

import options
import picture
import show
import small_llama
import torch
import weft
from ranks import LossesPart
from sources import standard_library
from torch.distributed.elastic.multiprocessing.errors import record
from transformers import LlamaForCausalLM

# Attention and both ends of the model are split over "model" by columns and rows; the feed-forward weights, most of the
# model, over "data" as well. Each pattern must match a variable's whole path.
LAYOUTS = {
    r"model/embed_tokens/weight": ("model", None),
    r"model/layers/.*/self_attn/(q|k|v)_proj/weight": ("model", None),
    r"model/layers/.*/self_attn/o_proj/weight": (None, "model"),
    r"model/layers/.*/mlp/(gate|up)_proj/weight": ("model", "data"),
    r"model/layers/.*/mlp/down_proj/weight": ("data", "model"),
    r"model/layers/.*/.*_layernorm/weight": (None,),
    r"model/norm/weight": (None,),
    r"lm_head/weight": ("model", None),
}
TOLERANCE = 1e-4  # of the losses, at every step
PROMPT = "    def __init__(self"
NEW_TOKENS = 48


def main(o) -> None:
    weft.initialize()
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
    first = weft.rank() == 0
    view = show.View(on=first)

    text = torch.frombuffer(standard_library(), dtype=torch.uint8)
    model = new_model(o)
    weft.distribute_module(model, weft.LayoutMap(mesh, LAYOUTS))
    view.layouts(weft.report(model))
    optimizer = new_optimizer(model)

    plain = new_model(o) if first else None
    plain_optimizer = new_optimizer(plain) if first else None

    history = show.History()
    with view.training(o.steps):
        for step, batch in enumerate(batches(text, o), start=1):
            torch.distributed.barrier()  # for honest times only
            with weft.trace() as moved:
                loss, seconds = timed(train_step, model, optimizer, weft.shard_batch(batch, mesh, "data"))
            if first:
                plain_loss, plain_seconds = timed(train_step, plain, plain_optimizer, batch)
                history.add(loss, plain_loss, seconds, plain_seconds, moved)
                view.step(step, history, batch["input_ids"].numel())
                if not abs(loss - plain_loss) <= TOLERANCE:
                    raise LossesPart(
                        f"the losses part at step {step}: {loss:.6f} sharded, {plain_loss:.6f} plain, "
                        f"which is more than {TOLERANCE:g}"
                    )

    tokens, seconds = timed(generate, model)
    if first:
        plain_tokens, plain_seconds = timed(generate, plain)
        same = int((tokens == plain_tokens).cumprod(0).sum())
        view.generated(bytes(tokens.tolist()).decode(errors="replace"), same, len(tokens), seconds, plain_seconds)
        picture.draw(o.out, history, weft.draw(model), TOLERANCE)
        view.summary(history, o.out)


def new_model(o) -> LlamaForCausalLM:
    torch.manual_seed(o.seed)
    positions = max(o.length, len(PROMPT) + NEW_TOKENS)
    return LlamaForCausalLM(small_llama.config(o, options.HEADS, positions))


def new_optimizer(model) -> torch.optim.Optimizer:
    # A gradient that is nearly zero is mostly rounding, and Adam divides it by its own size: with the usual eps of 1e-8
    # and a higher rate an ulp in the first weights alone moves the plain model's loss by 1e-3 within 50 steps.
    return torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)


def train_step(model, optimizer, batch) -> float:
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def generate(model) -> torch.Tensor:
    prompt = torch.tensor([list(PROMPT.encode())])
    return weft.full_tensor(model.generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)[0])


def batches(text: torch.Tensor, o) -> Iterator[dict[str, torch.Tensor]]:
    """Random pieces of the text; the same on every rank."""
    generator = torch.Generator().manual_seed(o.seed)
    for _ in range(o.steps):
        starts = torch.randint(len(text) - o.length, (o.batch, 1), generator=generator)
        pieces = text[starts + torch.arange(o.length)].long()
        yield {"input_ids": pieces, "labels": pieces}


def timed(function: Callable, *arguments) -> tuple:
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


if __name__ == "__main__":
    try:
        record(main)(options.parse())
    except Exception:
        sys.exit(1)  # launch.py shows it, if it was the first
