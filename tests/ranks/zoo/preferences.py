"""trl's losses: `compute_loss` of its trainers for supervised fine-tuning and for preferences, with their metrics."""

import importlib
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .table import HIDDEN, VOCABULARY, TorchEntry
from .words import tokenizer

CONFIG = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "num_key_value_heads": 2, **HIDDEN}
ROWS = {
    "SFT": {"text": ["w3 w4 w5 w6"] * 4},
    "DPO": {"prompt": ["w3 w4"] * 4, "chosen": ["w5 w6"] * 4, "rejected": ["w7"] * 4},
    "Reward": {"prompt": ["w3 w4"] * 4, "chosen": ["w5 w6"] * 4, "rejected": ["w7"] * 4},
}


class Trained(nn.Module):
    """A trainer's model, and the frozen one it is compared with."""

    def __init__(self, kind: str, cls: str, **options: Any) -> None:
        super().__init__()
        trl, transformers = importlib.import_module("trl"), importlib.import_module("transformers")
        datasets = importlib.import_module("datasets")

        def network() -> nn.Module:
            of = getattr(transformers, cls)
            return of(of.config_class(**CONFIG, **({"num_labels": 1} if kind == "Reward" else {})))

        with tempfile.TemporaryDirectory() as output:
            args = getattr(trl, f"{kind}Config")(
                output, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
                disable_tqdm=True, **options,
            )  # fmt: skip
            keywords = {"ref_model": network()} if kind == "DPO" else {}
            trainer = getattr(trl, f"{kind}Trainer")(
                network(), args=args, processing_class=tokenizer(),
                train_dataset=datasets.Dataset.from_dict(ROWS[kind]), **keywords,
            )  # fmt: skip
        self.model, self.reference = trainer.model, getattr(trainer, "ref_model", None)
        self.compute: Callable = trainer.compute_loss

    def forward(self, batch: dict) -> torch.Tensor:
        return self.compute(self.model, batch)


def trained(kind: str, inputs: str, cls: str = "LlamaForCausalLM", **options: Any) -> TorchEntry:
    return TorchEntry(
        "preferences", lambda: Trained(kind, cls, **options), inputs, lambda m, batch: m(dict(batch)), library="trl"
    )


def dpo(*losses: str, **options: Any) -> TorchEntry:
    return trained("DPO", "preferred texts", loss_type=list(losses), **options)


MODELS = {
    "trl.sft": trained("SFT", "masked texts"),
    "trl.sft_dft": trained("SFT", "masked texts", loss_type="dft"),
    "trl.sft_gemma2": trained("SFT", "masked texts", "Gemma2ForCausalLM"),
    "trl.dpo": dpo("sigmoid"),
    "trl.dpo_ipo": dpo("ipo"),
    "trl.dpo_hinge_sft": dpo("hinge", "sft"),
    "trl.dpo_robust": dpo("robust", label_smoothing=0.1),
    "trl.dpo_aot": dpo("aot"),
    "trl.dpo_apo_discopop": dpo("apo_zero", "discopop"),
    "trl.dpo_weighted": dpo("sigmoid", use_weighting=True, ld_alpha=0.5),
    "trl.reward": trained("Reward", "reward texts", "LlamaForSequenceClassification"),
}
