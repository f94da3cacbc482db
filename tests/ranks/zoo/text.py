"""Text models of transformers: decoders, mixtures of experts, state spaces, encoders, encoder-decoders."""

from .table import HIDDEN, VOCABULARY, Entry

TEXT = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **HIDDEN}
KV = {"num_key_value_heads": 2}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SEQ2SEQ = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "decoder_start_token_id": 0, "forced_eos_token_id": None, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
T5 = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip


def decoder(cls: str, **config: object) -> Entry:
    return Entry("decoder", cls, {**TEXT, **config}, "text", generates=True)


def experts(cls: str, **config: object) -> Entry:
    return Entry("experts", cls, {**TEXT, **KV, **config}, "text", generates=True)


def state_space(cls: str, **config: object) -> Entry:
    return Entry("state space", cls, {"vocab_size": VOCABULARY, **SPECIAL, **config}, "text", generates=True)


def encoder(cls: str, **config: object) -> Entry:
    return Entry("encoder", cls, {**TEXT, **config}, "text")


def seq2seq(cls: str, **config: object) -> Entry:
    return Entry("encoder-decoder", cls, {**SEQ2SEQ, **config}, "text", generates=True)


GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **SPECIAL}

MODELS = {
    "llama": decoder("LlamaForCausalLM", **KV),
    "mistral": decoder("MistralForCausalLM", **KV, sliding_window=6),
    "qwen2": decoder("Qwen2ForCausalLM", **KV),
    "qwen3": decoder("Qwen3ForCausalLM", **KV, head_dim=8),
    "gemma2": decoder("Gemma2ForCausalLM", **KV, **SPECIAL, head_dim=8, sliding_window=6),
    "gemma3": decoder("Gemma3ForCausalLM", **KV, **SPECIAL, head_dim=8, sliding_window=6),
    "phi3": decoder("Phi3ForCausalLM", **KV, **SPECIAL),
    "olmo2": decoder("Olmo2ForCausalLM", **KV, **SPECIAL),
    "cohere": decoder("CohereForCausalLM", **KV, **SPECIAL),
    "stablelm": decoder("StableLmForCausalLM", **KV, **SPECIAL),
    "starcoder2": decoder("Starcoder2ForCausalLM", **KV, **SPECIAL),
    "gpt_neox": decoder("GPTNeoXForCausalLM", **SPECIAL),
    "falcon": decoder("FalconForCausalLM", **SPECIAL),
    "bloom": Entry(
        "decoder", "BloomForCausalLM", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        "text", generates=True,
    ),
    "opt": decoder("OPTForCausalLM", **SPECIAL, ffn_dim=48, word_embed_proj_dim=32),
    "gpt2": Entry("decoder", "GPT2LMHeadModel", GPT2, "text", generates=True),
    "gptj": Entry("decoder", "GPTJForCausalLM", {**GPT2, "rotary_dim": 4}, "text", generates=True),
    "gpt_neo": Entry(
        "decoder", "GPTNeoForCausalLM", {**TEXT, **SPECIAL, "num_heads": 4, "num_layers": 2,
        "attention_types": [[["global", "local"], 1]], "window_size": 6}, "text", generates=True,
    ),
    # An expert's 24 columns are six pieces of the 16 bytes that its kernels ask for: not to be split in four.
    "mixtral": experts("MixtralForCausalLM", num_local_experts=4, intermediate_size=24),
    "qwen2_moe": experts(
        "Qwen2MoeForCausalLM", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
        shared_expert_intermediate_size=32, decoder_sparse_step=1,
    ),
    "qwen3_moe": experts(
        "Qwen3MoeForCausalLM", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=8
    ),
    "olmoe": experts("OlmoeForCausalLM", **SPECIAL, num_experts=4, num_experts_per_tok=2),
    "gpt_oss": experts(
        "GptOssForCausalLM", **SPECIAL, num_local_experts=4, num_experts_per_tok=2, head_dim=8, sliding_window=6
    ),
    "deepseek_v3": experts(
        "DeepseekV3ForCausalLM", **SPECIAL, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
        moe_intermediate_size=16, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=8,
        v_head_dim=8, first_k_dense_replace=1, num_key_value_heads=4,
    ),
    "granitemoe": experts(
        "GraniteMoeForCausalLM", **SPECIAL, num_local_experts=4, num_experts_per_tok=2
    ),
    # Its router asks for the sizes of the experts' parts by tolist().
    "jetmoe": experts("JetMoeForCausalLM", **SPECIAL, kv_channels=8, num_local_experts=4, num_experts_per_tok=2),
    "mamba": state_space("MambaForCausalLM", hidden_size=32, num_hidden_layers=2, state_size=4),
    "mamba2": state_space(
        "Mamba2ForCausalLM", hidden_size=32, num_hidden_layers=2, state_size=8, num_heads=8, head_dim=8, n_groups=2,
        chunk_size=4,
    ),
    "falcon_mamba": state_space("FalconMambaForCausalLM", hidden_size=32, num_hidden_layers=2, state_size=4),
    "jamba": state_space(
        "JambaForCausalLM", **HIDDEN, **KV, mamba_d_state=4, mamba_dt_rank=4, num_experts=4, num_experts_per_tok=2,
        expert_layer_period=2, expert_layer_offset=1, attn_layer_period=2, attn_layer_offset=1,
        use_mamba_kernels=False,
    ),
    "recurrent_gemma": state_space(
        "RecurrentGemmaForCausalLM", **{**HIDDEN, "num_hidden_layers": 3}, lru_width=32, attention_window_size=16
    ),
    "bert": encoder("BertForMaskedLM"),
    "roberta": encoder("RobertaForMaskedLM"),
    "electra": encoder("ElectraForMaskedLM", embedding_size=32),
    "albert": encoder("AlbertForMaskedLM", embedding_size=16),
    "distilbert": Entry(
        "encoder", "DistilBertForMaskedLM",
        {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, "text",
    ),
    "deberta_v2": encoder(
        "DebertaV2ForMaskedLM", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4
    ),
    "mpnet": encoder("MPNetForMaskedLM"),
    "modernbert": encoder("ModernBertForMaskedLM", **SPECIAL, local_attention=6),
    "fnet": encoder("FNetForMaskedLM"),
    "xlnet": Entry(
        "encoder", "XLNetLMHeadModel",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, "text",
    ),
    "t5": Entry("encoder-decoder", "T5ForConditionalGeneration", T5, "text", generates=True),
    "longt5": Entry(
        "encoder-decoder", "LongT5ForConditionalGeneration", {**T5, "local_radius": 3}, "text", generates=True
    ),
    "bart": seq2seq("BartForConditionalGeneration"),
    "marian": seq2seq("MarianMTModel"),
    "pegasus": seq2seq("PegasusForConditionalGeneration"),
    "m2m_100": seq2seq("M2M100ForConditionalGeneration"),
    "prophetnet": Entry(
        "encoder-decoder", "ProphetNetForConditionalGeneration",
        {**SPECIAL, "vocab_size": VOCABULARY, "hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2,
         "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "encoder_ffn_dim": 48,
         "decoder_ffn_dim": 48, "max_position_embeddings": 64, "decoder_start_token_id": 0}, "text",
    ),
}  # fmt: skip
