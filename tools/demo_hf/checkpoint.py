"""A small random checkpoint as Hugging Face's hub has them: weights, configuration, tokenizer."""

from pathlib import Path
from typing import Any

import options


def make(folder: Path, o: Any) -> None:
    import small_llama
    from transformers import LlamaForCausalLM, set_seed

    set_seed(o.seed)
    config = small_llama.config(o, options.HEADS, max(o.length, 256), attention_dropout=0.1, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def tokenizer() -> Any:
    """A token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)
