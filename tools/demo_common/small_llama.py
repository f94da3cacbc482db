"""The configuration of a small Llama over bytes."""

from typing import Any

from transformers import LlamaConfig


def config(o: Any, heads: int, positions: int, **more: Any) -> LlamaConfig:
    """A Llama as the options `hidden` and `layers` say, with room for `positions` tokens."""
    return LlamaConfig(
        vocab_size=256,  # bytes
        hidden_size=o.hidden,
        intermediate_size=o.hidden * 11 // 4 // 16 * 16,
        num_hidden_layers=o.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        **more,
    )
