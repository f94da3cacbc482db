"""A model of the table: what it is made from, what it is fed, what of its output is the loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

VOCABULARY = 96
HIDDEN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BATCH, LENGTH = 4, 8
DROPOUT = 0.1


@dataclasses.dataclass(frozen=True)
class Entry:
    family: str
    cls: str  # of transformers
    config: dict[str, Any]
    inputs: str  # a function of inputs.py
    generates: bool = False  # tokens, with a cache
    library: str = "transformers"

    def build(self) -> torch.nn.Module:
        import transformers

        cls = getattr(transformers, self.cls)
        config = cls.config_class(**self.config)
        with_dropout(config)
        return cls(config)

    def loss(self, model: torch.nn.Module, batch: dict) -> torch.Tensor:
        return model(**batch).loss


@dataclasses.dataclass(frozen=True)
class TorchEntry:
    """A model that gives its output rather than its loss, or a loss that has its model."""

    family: str
    make: Callable[[], torch.nn.Module]
    inputs: str
    loss: Callable[[torch.nn.Module, dict], torch.Tensor]
    generates: bool = False
    library: str = "torchvision"

    def build(self) -> torch.nn.Module:
        return self.make()


def with_dropout(config: Any) -> None:
    """Turns on every dropout that a configuration, or one inside it, knows of; whole layers are not dropped."""
    for key, value in vars(config).items():
        if hasattr(value, "to_dict"):
            with_dropout(value)
        elif "drop" in key and "layerdrop" not in key and isinstance(value, (int, float)) and value is not True:
            setattr(config, key, DROPOUT)
