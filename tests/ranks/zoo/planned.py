"""Every model of transformers that carries a plan of its own, tiny: its default configuration with small sizes."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import torch

from .table import DROPOUT, VOCABULARY

PREFIX = "planned."
SMALL = {
    "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY, "audio_vocab_size": VOCABULARY,
    "hidden_size": 32, "d_model": 32, "embed_dim": 32, "n_embd": 32, "width": 32, "dim": 32, "embedding_dim": 32,
    "intermediate_size": 48, "ffn_dim": 48, "d_ff": 48, "ffn_hidden_size": 48, "shared_intermediate_size": 48,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "dense_intermediate_size": 48, "intermediate_size_mlp": 48,
    "expert_ffn_hidden_size": 16, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 32, "mlp_dim": 48,
    "num_hidden_layers": 2, "num_layers": 2, "depth": 2, "n_layers": 2, "n_layer": 2, "encoder_layers": 2,
    "decoder_layers": 2, "num_decoder_layers": 2, "num_encoder_layers": 2, "num_layers_thinker": 2,
    "num_attention_heads": 4, "num_heads": 4, "n_heads": 4, "n_head": 4, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "attention_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2,
    "global_head_dim": 8, "head_dim": 8, "num_global_key_value_heads": 2, "d_kv": 8, "kv_channels": 8,
    "n_routed_experts": 4, "num_experts": 4, "num_local_experts": 4, "moe_num_experts": 4, "zero_expert_num": 2,
    "num_experts_per_tok": 2, "moe_topk": 2, "moe_k": 2, "top_k_experts": 2, "n_group": 2, "topk_group": 1,
    "num_expert_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "num_dense_layers": 1,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "qk_head_dim": 12,
    "v_head_dim": 8, "index_n_heads": 4, "index_head_dim": 8, "index_topk": 4, "o_lora_rank": 16, "o_groups": 2,
    "max_position_embeddings": 64, "sliding_window": 6, "attention_chunk_size": 6, "local_window_size": 6,
    "image_size": 16, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_channels": 3,
    "out_hidden_size": 32, "hidden_size_per_layer_input": 8, "altup_num_inputs": 2, "laurel_rank": 8,
    "num_kv_shared_layers": 0, "mamba_d_state": 4, "mamba_dt_rank": 4, "mamba_n_heads": 8, "mamba_d_head": 8,
    "mamba_n_groups": 2, "mamba_chunk_size": 4, "mamba_expand": 2, "mamba_num_heads": 8, "mamba_head_dim": 8,
    "ssm_state_size": 4, "n_groups": 2, "chunk_size": 4, "mamba_d_ssm": 64, "conv_L_cache": 3,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "num_mel_bins": 8, "max_source_positions": 16, "projection_dim": 16, "num_experts_per_token": 2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0,
    "linear_num_heads": 4, "linear_head_dim": 8, "vision_vocab_size": VOCABULARY, "codebook_vocab_size": 16,
    "num_codebooks": 3, "num_filters": 2, "num_code_groups": 8,
    "sparse_topk_blocks": 2, "sparse_block_size": 4, "full_attention_interval": 2, "attn_layer_period": 2,
    "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
}  # fmt: skip
DRAFTING = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 2}
# What a configuration leaves open although its model needs it, and sizes that must fit others of its own.
OWN: dict[str, dict[str, Any]] = {
    "CohereCompassTextConfig": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
            "full_attention": None,
        },
    },
    "DbrxAttentionConfig": {"clip_qkv": 8.0, "kv_n_heads": 2, "rope_theta": 1e4},
    "DbrxFFNConfig": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    "DeepseekOcr2TextConfig": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2},
    "DeepseekV2Config": {"num_experts_per_tok": 2},
    "Dots3NoteAudioConfig": {"adapter_input_size": 32, "adapter_out_dim": 32, "feature_size": 8},
    "Dots3NoteVisionConfig": {
        "mlp_layer_types": ["dense", "sparse"],
        "adapter_in_dim": 32,
        "adapter_out_dim": 32,
    },
    "DiffusionGemmaTextConfig": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16},
    "Dots1Config": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "Ernie4_5_VLMoeTextConfig": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "mrope_section": [1, 1, 2]}
    },
    "FastVlmConfig": {"vision_config": {"architecture": "fastvit_t8", "hidden_size": 32}},
    "FunAsrNanoAdaptorConfig": {"intermediate_size": 8},
    "Gemma4AssistantConfig": {
        "backbone_hidden_size": 32,
        "text_config": {**DRAFTING, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0},
    },
    "Gemma4UnifiedAssistantConfig": {  # of its layers some must not share, or it does not build
        "backbone_hidden_size": 32,
        "text_config": {**DRAFTING, "num_hidden_layers": 4, "layer_types": 2 * DRAFTING["layer_types"]},
    },
    "Glm5NextTextConfig": {"index_kpool": 2, "qk_rope_head_dim": 0},
    "Granite4VisionConfig": {
        "deepstack_layer_map": [[-1, 0]],
        "spatial_target_layers": [1],
        "downsample_rate": "1/2",
        "vision_config": {"hidden_size": 64, "num_attention_heads": 4},
    },
    "Inkling2VisionConfig": {"text_hidden_size": 32},
    "KyutaiSpeechToTextConfig": {
        "audio_pad_token_id": 0,
        "audio_bos_token_id": 1,
        "codec_config": {"upsample_groups": 32},
    },
    "Lfm2MoeConfig": {"layer_types": ["conv", "full_attention"]},
    "Llama4VisionConfig": {  # its shuffled patches have four times its own size
        "intermediate_size": 128,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "vision_output_dim": 32,
    },
    "Mistral4Config": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 1 / 3,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 32,
        }
    },
    "NeoMMEConfig": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": part}
            for kind, part in (("sliding_attention", 1.0), ("full_attention", 0.5))
        },
    },
    "NemotronConfig": {"num_key_value_heads": 2},
    "PerceptionLMConfig": {
        "vision_config": {"architecture": "vit_tiny_patch16_224", "model_args": {"embed_dim": 48, "depth": 2}},
    },
    "PI0Config": {"vlm_config": {"projection_dim": 32, "image_token_id": 95}},
    "PPFormulaNetVisionConfig": {
        "window_size": 2,
        "global_attn_indexes": [1],
        "initializer_range": 0.02,
        "output_channels": 16,
        "post_conv_in_channels": 16,
        "post_conv_mid_channels": 16,
        "post_conv_out_channels": 24,
        "decoder_hidden_size": 32,
    },
    "Qwen3OmniMoeTalkerConfig": {"spatial_merge_size": 2, "vocab_size": VOCABULARY},
    "Qwen3OmniMoeTalkerTextConfig": {"shared_expert_intermediate_size": 32},
    "Step3p7TextConfig": {"sliding_window": 6},
}
# What classes are fed, by the names of inputs.py, that take no text.
INPUTS = {
    "Ernie4_5_VLMoeVisionTransformerPretrainedModel": "packed patches",
    "Gemma4AssistantForCausalLM": "drafting",
    "Gemma4UnifiedAssistantForCausalLM": "drafting",
    "Gemma4VisionModel": "placed patches",
    "KyutaiSpeechToTextForConditionalGeneration": "codes",
    "Llama4VisionModel": "image only",
    "MuseGlimmerVisionModel": "packed frames",
    "PI0ForConditionalGeneration": "actions",
    "PPFormulaNetForConditionalGeneration": "caption of a photo",
    "Qwen3OmniMoeTalkerCodePredictorModelForConditionalGeneration": "embedded text",
    "Qwen3OmniMoeTalkerForConditionalGeneration": "embedded text",
    "Qwen3OmniMoeTalkerModel": "embedded text",
    "VoxtralRealtimeForConditionalGeneration": "speech as it comes",
}
LARGEST = 1 << 27  # parameters
LATENT = {"head_dim": 4, "num_key_value_heads": 4}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model as the zoo has them; of those that see or hear the text part runs."""

    cls: str
    family: str = "planned"
    generates: bool = False
    library: str = "transformers"

    @property
    def inputs(self) -> str:
        return INPUTS.get(self.cls, "text")

    def build(self) -> torch.nn.Module:
        import transformers

        cls = getattr(transformers, self.cls, None) or classes()[self.cls]  # the whole list takes long to import
        config = small(cls.config_class)
        with torch.device("meta"):
            size = sum(p.numel() for p in cls(config).parameters())
        if size > LARGEST:
            raise ValueError(f"{size} parameters: SMALL does not name what makes it large")
        model = filled(functools.partial(cls, config))
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = DROPOUT
        return model

    def loss(self, model: torch.nn.Module, batch: dict) -> torch.Tensor:
        known = inspect.signature(model.forward).parameters
        if "decoder_input_ids" in known and "labels" not in known:
            batch = {**batch, "decoder_input_ids": batch["input_ids"]}
        if any(p.kind == p.VAR_KEYWORD or name == "use_cache" for name, p in known.items()):
            batch = {**batch, "use_cache": False}  # that of linear attention alone cannot tell its length
        out = model(**{k: v for k, v in batch.items() if k in known or k in ("input_ids", "use_cache")})
        if getattr(out, "loss", None) is not None:
            return out.loss
        # Not its square: of a normalized output that is a constant, whose gradients are roundings.
        return (out[0] * torch.arange(out[0].shape[-1]).sin()).mean()


def filled(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """The model, with values for what its initialisation leaves as memory that nothing has written."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # such memory is NaN then
    try:
        model = make()
    finally:
        torch.use_deterministic_algorithms(before)
    for p in model.parameters():
        if p.isnan().any():
            torch.nn.init.normal_(p, std=0.02)
    return model


def small(cls: type, **more: Any) -> Any:
    """The class's default configuration, and those inside it, with small sizes."""
    from transformers import PreTrainedConfig

    own = {**OWN.get(cls.__name__, {}), **more}
    inner = {name: value for name, value in own.items() if name.endswith("_config")}
    default = cls(**inner)
    values = vars(default)
    known = set(inspect.signature(cls.__init__).parameters) | set(values)
    sizes = {name: size for name, size in SMALL.items() if name in known and is_size(values.get(name), name)}
    if "qk_rope_head_dim" in known:  # multi-head latent attention: each head has keys of its own, and rotates these
        sizes.update({name: size for name, size in LATENT.items() if name in known})
    rope = values.get("rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in source_of(cls):
        turned = int(sizes.get("head_dim", 8) * rope.get("partial_rotary_factor", 1.0)) // 2
        sizes["rope_parameters"] = {**rope, "mrope_section": [turned - 2 * (turned // 3), turned // 3, turned // 3]}
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig):
            sizes[name] = small(type(value), **own.pop(name, {})).to_dict()
    return cls(**{**sizes, **own})


@functools.cache
def source_of(config: type) -> str:
    """The code of the models that a configuration is for."""
    package, _, name = config.__module__.rpartition(".")
    try:
        return inspect.getsource(importlib.import_module(f"{package}.{name.replace('configuration_', 'modeling_')}"))
    except ImportError:
        return ""


def is_size(value: Any, name: str) -> bool:
    """Whether a configuration has a number there, or works it out where none is given."""
    return type(value) is int or value is None and name == "head_dim"


@functools.cache
def classes() -> dict[str, type]:
    """Classes by name: those with a plan of their own, and the base models of configurations without such a class."""
    import transformers
    import transformers.models

    found: dict[str, type] = {}
    planned: dict[str, type] = {}
    bases: dict[type, type] = {}
    for package in pkgutil.iter_modules(transformers.models.__path__):
        for kind in ("configuration", "modeling"):
            name = f"transformers.models.{package.name}.{kind}_{package.name}"
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
            for value in vars(module).values():
                if not inspect.isclass(value) or value.__module__ != name:
                    continue
                if issubclass(value, transformers.PreTrainedConfig):
                    if value.base_model_tp_plan or value.base_model_ep_plan:
                        planned[value.__name__] = value
                elif issubclass(value, transformers.PreTrainedModel) and value.config_class is not None:
                    if value.__dict__.get("_tp_plan"):
                        found[value.__name__] = value
                    if value.__name__.endswith("Model"):
                        bases.setdefault(value.config_class, value)
    covered = {cls.config_class for cls in found.values()}
    for config in planned.values():
        if config not in covered and config in bases and not bases[config].__name__.endswith("PreTrainedModel"):
            found[bases[config].__name__] = bases[config]
    return found
