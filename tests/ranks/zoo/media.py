"""Vision, audio, multimodal and time series models of transformers."""

from .table import HIDDEN, VOCABULARY, Entry

IMAGE = {"image_size": 16, "patch_size": 4, **HIDDEN}
LABELS = {"num_labels": 6}
SOUND = {
    "conv_dim": [8, 8], "conv_stride": [4, 2], "conv_kernel": [8, 3], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
    "mask_time_prob": 0.0, "layerdrop": 0.0, **HIDDEN, **LABELS,
}  # fmt: skip
TEXT = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **HIDDEN}


def vision(cls: str, **config: object) -> Entry:
    return Entry("vision", cls, {**LABELS, **config}, "image")


def audio(cls: str, **config: object) -> Entry:
    return Entry("audio", cls, {**SOUND, **config}, "sound")


MODELS = {
    "vit": vision("ViTForImageClassification", **IMAGE),
    "deit": vision("DeiTForImageClassification", **IMAGE),
    "beit": vision("BeitForImageClassification", **IMAGE),
    "dinov2": vision("Dinov2ForImageClassification", image_size=16, patch_size=4, mlp_ratio=2, **HIDDEN),
    "swin": vision(
        "SwinForImageClassification", image_size=16, patch_size=2, embed_dim=16, depths=[2, 1], num_heads=[2, 4],
        window_size=4,
    ),
    "convnext": vision("ConvNextForImageClassification", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    "resnet": vision(
        "ResNetForImageClassification", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ),
    "regnet": vision(
        "RegNetForImageClassification", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4
    ),
    "mobilenet_v2": vision("MobileNetV2ForImageClassification", image_size=32, depth_multiplier=0.25),
    "segformer": Entry(
        "vision", "SegformerForSemanticSegmentation",
        {**LABELS, "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
         "patch_sizes": [3, 3], "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
         "decoder_hidden_size": 16}, "pixels",
    ),
    "vit_mae": Entry(
        "vision", "ViTMAEForPreTraining",
        {**IMAGE, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
         "decoder_intermediate_size": 24}, "image only",
    ),
    "wav2vec2": audio("Wav2Vec2ForSequenceClassification"),
    "hubert": audio("HubertForSequenceClassification"),
    "wavlm": audio("WavLMForSequenceClassification", num_buckets=8, max_bucket_distance=16),
    "whisper": Entry(
        "audio", "WhisperForConditionalGeneration",
        {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
         "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16, "pad_token_id": 0,
         "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1, "suppress_tokens": None,
         "begin_suppress_tokens": None}, "mel",
    ),
    "audio_spectrogram_transformer": Entry(
        "audio", "ASTForAudioClassification",
        {**HIDDEN, **LABELS, "patch_size": 4, "max_length": 16, "num_mel_bins": 8, "time_stride": 4,
         "frequency_stride": 4}, "spectrogram",
    ),
    "clip": Entry(
        "multimodal", "CLIPModel",
        {"text_config": {**TEXT, "eos_token_id": 2}, "vision_config": IMAGE, "projection_dim": 16}, "pair",
    ),
    "siglip": Entry("multimodal", "SiglipModel", {"text_config": TEXT, "vision_config": IMAGE}, "pair"),
    "vilt": Entry("multimodal", "ViltForQuestionAnswering", {**TEXT, **IMAGE, **LABELS}, "question"),
    "blip": Entry(
        "multimodal", "BlipForConditionalGeneration",
        {"text_config": {**TEXT, "encoder_hidden_size": 32, "bos_token_id": 0, "pad_token_id": 0, "eos_token_id": 2,
                         "sep_token_id": 2},
         "vision_config": IMAGE, "projection_dim": 16}, "caption",
    ),
    "git": Entry(
        "multimodal", "GitForCausalLM",
        {**TEXT, "vision_config": IMAGE, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}, "caption",
    ),
    "llava": Entry(
        "multimodal", "LlavaForConditionalGeneration",
        {"text_config": {"model_type": "llama", **TEXT, "num_key_value_heads": 2},
         "vision_config": {"model_type": "clip_vision_model", **IMAGE}, "image_token_index": 95,
         "image_seq_length": 16}, "visual prompt",
    ),
    "patchtst": Entry(
        "time series", "PatchTSTForPrediction",
        {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4,
         "d_model": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "loss": "mse"}, "series",
    ),
}  # fmt: skip
