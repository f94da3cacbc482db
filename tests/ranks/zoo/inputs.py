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


def boxes() -> dict:
    corners = torch.tensor([[4.0, 4.0, 40.0, 40.0], [20.0, 8.0, 60.0, 50.0]])
    target = [{"boxes": corners + i, "labels": torch.tensor([1, 2])} for i in range(2)]
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 4:40, 4:40] = 1
    masks[1, 8:50, 20:60] = 1
    return {"images": [torch.rand(3, 64, 64) for _ in target], "targets": [{**t, "masks": masks} for t in target]}


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
    "rois": lambda: {"x": torch.randn(BATCH, 8, 16, 16), "labels": labels()},
}


def batch(kind: str) -> dict:
    torch.manual_seed(1)
    return INPUTS[kind]()
