"""Batches of four, by kind; each the same from every call."""

import torch

from .table import BATCH, LENGTH, VOCABULARY


def ids() -> torch.Tensor:
    return torch.randint(3, VOCABULARY - 1, (BATCH, LENGTH))


def pixels(size: int = 16) -> torch.Tensor:
    return torch.randn(BATCH, 3, size, size)


def labels() -> torch.Tensor:
    return torch.arange(BATCH)


def text() -> dict:
    x = ids()
    return {"input_ids": x, "labels": x}


def visual_prompt() -> dict:
    x = torch.cat([torch.full((BATCH, 16), 95), ids()], 1)
    return {"input_ids": x, "pixel_values": pixels(), "labels": x}


def packed(name: str, size: int) -> dict:
    """Patches of that many numbers of four images, one after the other, and how many each has: time, rows, columns."""
    return {name: torch.randn(BATCH * 16, size), "grid_thw": torch.tensor([[1, 4, 4]] * BATCH)}


def placed_patches() -> dict:
    places = torch.cartesian_prod(torch.arange(6), torch.arange(6)).expand(BATCH, -1, -1)
    return {"pixel_values": torch.rand(BATCH, 36, 48), "pixel_position_ids": places.contiguous()}


def drafting() -> dict:
    """Tokens, each as its embedding and what the larger model made of it, and that model's keys and values."""
    kept = {kind: (torch.randn(BATCH, 2, 6, 8), torch.randn(BATCH, 2, 6, 8)) for kind in ("full", "sliding")}
    return {
        "inputs_embeds": torch.randn(BATCH, 6, 64), "position_ids": torch.arange(6).expand(BATCH, -1).contiguous(),
        "shared_kv_states": {f"{kind}_attention": states for kind, states in kept.items()},
    }  # fmt: skip


def actions() -> dict:
    """What two cameras see, a text, a robot's state, and the actions that follow."""
    x = torch.cat([torch.full((BATCH, 32), 95), ids()], 1)
    return {
        "input_ids": x, "attention_mask": torch.ones_like(x), "pixel_values": torch.randn(BATCH, 2, 3, 16, 16),
        "pixel_attention_mask": torch.ones(BATCH, 2, dtype=torch.bool), "state": torch.randn(BATCH, 32),
        "actions": torch.randn(BATCH, 4, 32), "noise": torch.randn(BATCH, 4, 32), "timestep": torch.rand(BATCH),
    }  # fmt: skip


def boxes() -> dict:
    corners = torch.tensor([[4.0, 4.0, 40.0, 40.0], [20.0, 8.0, 60.0, 50.0]])
    target = [{"boxes": corners + i, "labels": torch.tensor([1, 2])} for i in range(2)]
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 4:40, 4:40] = 1
    masks[1, 8:50, 20:60] = 1
    return {"images": [torch.rand(3, 64, 64) for _ in target], "targets": [{**t, "masks": masks} for t in target]}


def noisy(channels: int, size: int) -> dict:
    return {"sample": torch.randn(BATCH, channels, size, size), "timestep": torch.randint(0, 100, (BATCH,))}


def prompt() -> torch.Tensor:
    return torch.randn(BATCH, 6, 32)


def packed_latents() -> dict:
    """Flux's: patches as a sequence, with the place of each."""
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return {
        "sample": torch.randn(BATCH, 16, 16), "timestep": torch.randint(0, 100, (BATCH,)), "img_ids": places,
        "txt_ids": torch.zeros(6, 3), "encoder_hidden_states": prompt(), "pooled_projections": torch.randn(BATCH, 16),
    }  # fmt: skip


def padded(rows: int = BATCH) -> dict:
    """Texts of several lengths, with their mask."""
    mask = (torch.arange(LENGTH) < torch.tensor([8, 5, 3, 7]).repeat(rows // BATCH)[:, None]).long()
    return {"input_ids": torch.randint(3, VOCABULARY - 1, (rows, LENGTH)) * mask, "attention_mask": mask}


def texts(parts: int, labels: torch.Tensor | None = None) -> dict:
    return {"texts": [padded() for _ in range(parts)], "labels": labels}


def masked_texts() -> dict:
    x = padded()
    return {**x, "labels": x["input_ids"].masked_fill(x["attention_mask"] == 0, -100)}


def preferred_texts() -> dict:
    """First the chosen, then the rejected; of each the last part is the completion."""
    x = padded(2 * BATCH)
    return {**x, "completion_mask": x["attention_mask"] * (torch.arange(LENGTH) > 1)}


def graphs() -> dict:
    """Four graphs of five to seven nodes in one: each node, its edges, and which graph it is of."""
    sizes = torch.tensor([5, 6, 7, 6])
    starts = sizes.cumsum(0) - sizes
    edges = torch.cat([s + torch.randint(0, int(n), (2, 3 * int(n))) for s, n in zip(starts, sizes, strict=True)], 1)
    return {
        "x": torch.randn(int(sizes.sum()), 32), "edge_index": edges, "edge_attr": torch.randn(edges.shape[1], 6),
        "edge_type": torch.randint(0, 3, (edges.shape[1],)), "batch": torch.arange(BATCH).repeat_interleave(sizes),
        "labels": labels(),
    }  # fmt: skip


INPUTS = {
    "text": text,
    "image": lambda: {"pixel_values": pixels(), "labels": labels()},
    "image only": lambda: {"pixel_values": pixels()},
    "pixels": lambda: {"pixel_values": pixels(), "labels": torch.randint(0, 6, (BATCH, 16, 16))},
    "sound": lambda: {"input_values": torch.randn(BATCH, 200), "labels": labels()},
    "mel": lambda: {"input_features": torch.randn(BATCH, 8, 32), "labels": ids()},
    "spectrogram": lambda: {"input_values": torch.randn(BATCH, 16, 8), "labels": labels()},
    "pair": lambda: {"input_ids": ids(), "pixel_values": pixels(), "return_loss": True},
    "question": lambda: {"input_ids": ids(), "pixel_values": pixels(), "labels": torch.rand(BATCH, 6)},
    "caption": lambda: {**text(), "pixel_values": pixels()},
    "visual prompt": visual_prompt,
    "series": lambda: {"past_values": torch.randn(BATCH, 16, 2), "future_values": torch.randn(BATCH, 4, 2)},
    "photo": lambda: {"x": pixels(64), "labels": labels()},
    "photo segments": lambda: {"x": pixels(64), "labels": torch.randint(0, 6, (BATCH, 64, 64))},
    "boxes": boxes,
    "sequence": lambda: {"x": torch.randn(BATCH, LENGTH, 32), "labels": torch.randint(0, 6, (BATCH, LENGTH))},
    "images": lambda: {"x": pixels()},
    "noisy images": lambda: noisy(3, 16),
    "noisy latents of classes": lambda: {**noisy(4, 8), "class_labels": labels()},
    "noisy latents with text": lambda: {**noisy(4, 8), "encoder_hidden_states": prompt()},
    "latents with pooled text": lambda: {
        **noisy(4, 8),
        "encoder_hidden_states": prompt(),
        "pooled_projections": torch.randn(BATCH, 16),
    },
    "packed latents": packed_latents,
    "text pairs": lambda: texts(2),
    "text triplets": lambda: texts(3),
    "texts of classes": lambda: texts(1, torch.tensor([0, 1, 0, 1])),
    "text pairs of classes": lambda: texts(2, torch.tensor([0, 1, 1, 0])),
    "text pairs of scores": lambda: texts(2, torch.rand(BATCH)),
    "masked texts": masked_texts,
    "preferred texts": preferred_texts,
    "reward texts": lambda: padded(2 * BATCH),
    "graphs": graphs,
    "packed patches": lambda: packed("hidden_states", 48),
    "packed frames": lambda: packed("pixel_values", 96),
    "placed patches": placed_patches,
    "drafting": drafting,
    "actions": actions,
    "codes": lambda: {"input_ids": torch.randint(3, 16, (BATCH, LENGTH, 4)), "labels": ids()},
    "caption of a photo": lambda: {
        "pixel_values": pixels(),
        "decoder_input_ids": ids(),
        "labels": ids(),
    },
    "embedded text": lambda: {"inputs_embeds": prompt(), "labels": ids()[:, :6]},
    "speech as it comes": lambda: {**text(), "input_features": torch.randn(BATCH, 8, 64)},
    "rois": lambda: {"x": torch.randn(BATCH, 8, 16, 16), "labels": labels()},
}


def batch(kind: str) -> dict:
    torch.manual_seed(1)
    return INPUTS[kind]()
