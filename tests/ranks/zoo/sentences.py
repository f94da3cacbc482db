"""sentence-transformers' losses around an encoder and a pooling: contrastive, cached, of triplets and of scores."""

import importlib
import tempfile
from typing import Any

import torch
from torch import nn

from .table import DROPOUT, HIDDEN, VOCABULARY, TorchEntry
from .words import tokenizer

CONFIG = {
    "vocab_size": VOCABULARY, "max_position_embeddings": 64, "hidden_dropout_prob": DROPOUT,
    "attention_probs_dropout_prob": DROPOUT, **HIDDEN,
}  # fmt: skip


def sentence_model(mode: str = "mean") -> nn.Module:
    """A SentenceTransformer, read from a folder as ever."""
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from transformers import BertConfig, BertModel

    with tempfile.TemporaryDirectory() as folder:
        # BertModel.save_pretrained writes on one rank alone; each has a folder of its own here.
        network = BertModel(BertConfig(**CONFIG))
        network.config.save_pretrained(folder)
        save_file(network.state_dict(), f"{folder}/model.safetensors", metadata={"format": "pt"})
        tokenizer().save_pretrained(folder)
        encoder = Transformer(folder)
    return SentenceTransformer(modules=[encoder, Pooling(32, mode), Dense(32, 16)], device="cpu")


def loss_of(module: nn.Module, batch: dict) -> torch.Tensor:
    """The texts are the batch's parts in their order; a loss that has no use for labels is given none."""
    return module([dict(part) for part in batch["texts"]], batch["labels"])


def loss(name: str, inputs: str, mode: str = "mean", **keywords: Any) -> TorchEntry:
    def make() -> nn.Module:
        losses = importlib.import_module("sentence_transformers.sentence_transformer.losses")
        return getattr(losses, name)(sentence_model(mode), **keywords)

    return TorchEntry("sentences", make, inputs, loss_of, library="sentence_transformers")


def wrapped(name: str, inner: str, inputs: str, **keywords: Any) -> TorchEntry:
    """A loss around another loss of the same model."""

    def make() -> nn.Module:
        losses = importlib.import_module("sentence_transformers.sentence_transformer.losses")
        model = sentence_model()
        return getattr(losses, name)(model, getattr(losses, inner)(model), **keywords)

    return TorchEntry("sentences", make, inputs, loss_of, library="sentence_transformers")


MODELS: dict[str, TorchEntry] = {
    "st.multiple_negatives": loss("MultipleNegativesRankingLoss", "text pairs"),
    "st.multiple_negatives_symmetric": loss("MultipleNegativesSymmetricRankingLoss", "text pairs", "cls"),
    "st.cached_multiple_negatives": loss("CachedMultipleNegativesRankingLoss", "text triplets", mini_batch_size=2),
    "st.cached_multiple_negatives_symmetric": loss(
        "CachedMultipleNegativesSymmetricRankingLoss", "text pairs", mini_batch_size=3
    ),
    "st.mega_batch_margin": loss("MegaBatchMarginLoss", "text pairs", mini_batch_size=2),
    "st.contrastive": loss("ContrastiveLoss", "text pairs of classes"),
    "st.online_contrastive": loss("OnlineContrastiveLoss", "text pairs of classes", margin=1.5),
    "st.triplet": loss("TripletLoss", "text triplets"),
    "st.batch_hard_triplet": loss("BatchHardTripletLoss", "texts of classes"),
    "st.batch_all_triplet": loss("BatchAllTripletLoss", "texts of classes", "weightedmean"),
    "st.cosent": loss("CoSENTLoss", "text pairs of scores"),
    "st.cosine_similarity": loss("CosineSimilarityLoss", "text pairs of scores", "lasttoken"),
    "st.softmax": loss("SoftmaxLoss", "text pairs of classes", embedding_dimension=16, num_labels=3),
    "st.matryoshka": wrapped("MatryoshkaLoss", "MultipleNegativesRankingLoss", "text pairs", matryoshka_dims=[16, 8]),
    "st.matryoshka_cached": wrapped(
        "MatryoshkaLoss", "CachedMultipleNegativesRankingLoss", "text pairs", matryoshka_dims=[16, 8]
    ),
}
