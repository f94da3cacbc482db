"""A tokenizer of as many words as the models know, for libraries that will not start without one."""

from typing import Any

from .table import VOCABULARY

SPECIAL = ("[PAD]", "[UNK]", "[EOS]")


def tokenizer() -> Any:
    """transformers' fast tokenizer of the words w3, w4, … and three special ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate([*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), VOCABULARY))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", model_max_length=64
    )
