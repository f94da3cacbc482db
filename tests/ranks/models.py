"""Stock models from transformers, tiny, with the column/row plan for each and a plan drawn from variables' names."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import torch
import weft

VOCABULARY = 96
HIDDEN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

# Column-split weights feed row-split ones. Linear weights are (out, in), GPT-2's Conv1D weights (in, out).
COLUMN, ROW = ("model", None), (None, "model")
PLANS = {
    "llama": {
        r".*(q_proj|k_proj|v_proj|gate_proj|up_proj)/weight": COLUMN,
        r".*(o_proj|down_proj)/weight": ROW,
        r".*embed_tokens/weight": COLUMN,
    },
    "gpt2": {
        r".*(c_attn|c_fc)/weight": ROW,
        r".*c_proj/weight": COLUMN,
        r".*wte/weight": COLUMN,
    },
    "bert": {
        r".*(query|key|value)/weight": COLUMN,
        r".*(query|key|value)/bias": ("model",),
        r".*attention/output/dense/weight": ROW,
        r".*intermediate/dense/weight": COLUMN,
        r".*layer/\d+/output/dense/weight": ROW,
        r".*word_embeddings/weight": COLUMN,
    },
    "t5": {
        r".*(Attention)/(q|k|v)/weight": COLUMN,
        r".*Attention/o/weight": ROW,
        r".*DenseReluDense/wi/weight": COLUMN,
        r".*DenseReluDense/wo/weight": ROW,
        r".*shared/weight": COLUMN,
    },
    "vit": {
        r".*attention.*(query|key|value|q_proj|k_proj|v_proj)/weight": COLUMN,
        r".*(intermediate/dense|fc1)/weight": COLUMN,
        r".*(layer/\d+/output/dense|fc2)/weight": ROW,
    },
    "resnet": {
        r".*convolution/weight": ("model", None, None, None),
        r".*classifier.*/weight": COLUMN,
    },
    "mixtral": {
        r".*(q_proj|k_proj|v_proj)/weight": COLUMN,
        r".*o_proj/weight": ROW,
        r".*experts/gate_up_proj": (None, "model", None),
        r".*experts/down_proj": (None, None, "model"),
        r".*embed_tokens/weight": COLUMN,
    },
    "wav2vec2": {
        r".*(q_proj|k_proj|v_proj|intermediate_dense)/weight": COLUMN,
        r".*(out_proj|output_dense)/weight": ROW,
        r".*conv/weight": ("model", None, None),
    },
    "convnext": {
        r".*pwconv1/weight": COLUMN,
        r".*pwconv2/weight": ROW,
        r".*dwconv/weight": ("model", None, None, None),
    },
    "patchtst": {
        r".*(q_proj|k_proj|v_proj|ff/0)/weight": COLUMN,
        r".*(out_proj|ff/3)/weight": ROW,
    },
}


# By name: configuration, model, what it is fed, options.
STOCK: dict[str, tuple[str, str, str, dict]] = {
    "llama": (
        "LlamaConfig", "LlamaForCausalLM", "text",
        {"vocab_size": VOCABULARY, "num_key_value_heads": 2, "max_position_embeddings": 64, **HIDDEN},
    ),
    "gpt2": (
        "GPT2Config", "GPT2LMHeadModel", "text",
        {
            "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "resid_pdrop": 0.0,
            "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0,
        },
    ),
    "bert": (
        "BertConfig", "BertForMaskedLM", "text",
        {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **HIDDEN, **NO_DROPOUT},
    ),
    "t5": (
        "T5Config", "T5ForConditionalGeneration", "text",
        {
            "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
            "dropout_rate": 0.0, "decoder_start_token_id": 0,
        },
    ),
    "vit": (
        "ViTConfig", "ViTForImageClassification", "images",
        {"image_size": 16, "patch_size": 4, "num_labels": 6, **HIDDEN, **NO_DROPOUT},
    ),
    "resnet": (
        "ResNetConfig", "ResNetForImageClassification", "images",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 6, "layer_type": "basic"},
    ),
    # An expert's 24 columns are six pieces of the 16 bytes that its kernels ask for: not to be split in four.
    "mixtral": (
        "MixtralConfig", "MixtralForCausalLM", "text",
        {
            "vocab_size": VOCABULARY, "num_key_value_heads": 2, "num_local_experts": 4, "max_position_embeddings": 64,
            **HIDDEN, "intermediate_size": 24,
        },
    ),
    "wav2vec2": (
        "Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", "sounds",
        {
            "conv_dim": [8, 8], "conv_stride": [4, 2], "conv_kernel": [8, 3], "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16, "mask_time_prob": 0.0, "layerdrop": 0.0,
            "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0,
            "final_dropout": 0.0, "num_labels": 6, **HIDDEN,
        },
    ),
    "convnext": (
        "ConvNextConfig", "ConvNextForImageClassification", "images",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "num_labels": 6},
    ),
    "patchtst": (
        "PatchTSTConfig", "PatchTSTForPrediction", "series",
        {
            "num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4,
            "d_model": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "loss": "mse",
            "attention_dropout": 0.0, "ff_dropout": 0.0, "path_dropout": 0.0, "positional_dropout": 0.0,
            "head_dropout": 0.0,
        },
    ),
}  # fmt: skip


def batch_of(kind: str) -> dict[str, torch.Tensor]:
    """Four rows, with labels."""
    if kind == "text":
        ids = torch.randint(0, VOCABULARY, (4, 8))
        return {"input_ids": ids, "labels": ids}
    if kind == "series":
        return {"past_values": torch.randn(4, 16, 2), "future_values": torch.randn(4, 4, 2)}
    classes = torch.tensor([0, 1, 2, 3])
    if kind == "sounds":
        return {"input_values": torch.randn(4, 200), "labels": classes}
    return {"pixel_values": torch.randn(4, 3, 16, 16), "labels": classes}


def build(name: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The model in training mode, and a batch of four with labels; the same from every call."""
    import transformers

    config, model, kind, options = STOCK[name]
    torch.manual_seed(0)
    batch = batch_of(kind)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).train(), batch


def drawn_plan(model: torch.nn.Module) -> dict[str, tuple]:
    """Every variable split on a dimension, over axes, that its name draws."""
    plan = {}
    for name, parameter in model.named_parameters():
        draw = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        axes: list = [None] * parameter.dim()
        if axes:
            axes[draw % len(axes)] = ("data", "model", ("data", "model"), ("model", "data"))[draw // 7 % 4]
        plan[name] = tuple(axes)
    return plan


def record_no_warnings() -> None:
    """In compiled programs: transformers tells of losses that it does not know, once."""
    torch._dynamo.config.ignore_logging_functions.add(logging.Logger.warning_once)  # type: ignore[attr-defined]


def compiled(model: torch.nn.Module, backend: str) -> Callable[..., Any]:
    """The model as one graph forward and one backward."""
    torch._dynamo.reset()
    record_no_warnings()
    return torch.compile(model, backend=backend, fullgraph=True)


def train_step(name: str, plan: str, backend: str = "") -> dict:
    """Loss and gradients of the model sharded on mesh (data=2, model=2) beside the plain model's, on every rank.

    With a backend the sharded model is compiled by it, and the step is its third.
    Returns both losses, the gradients whose relative difference is large, by name, and how many programs were compiled
    after the second step.
    """
    reference, batch = build(name)
    expected = reference(**batch).loss
    expected.backward()

    model, _ = build(name)
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    layouts = weft.LayoutMap(mesh)
    for pattern, axes in (PLANS[name] if plan == "column_row" else drawn_plan(model)).items():
        layouts[pattern] = axes
    weft.distribute_module(model, layouts)
    split = weft.shard_batch(batch, mesh, "data")
    run = compiled(model, backend) if backend else model
    for _ in range(2 if backend else 0):
        run(**split).loss.backward()
        model.zero_grad()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"] if backend else 0
    loss = run(**split).loss
    loss.backward()
    after = torch._dynamo.utils.counters["stats"]["unique_graphs"] if backend else 0

    wrong = {}
    plain = dict(reference.named_parameters())
    # A bias that the softmax cancels has a gradient of rounding errors: measured against the largest gradient too.
    largest = max(p.grad.abs().max().item() for p in plain.values() if p.grad is not None)
    for path, parameter in model.named_parameters():
        want = plain[path].grad
        if (parameter.grad is None) != (want is None):
            wrong[path] = "missing"
        elif want is not None:
            if weft.layout_of(parameter.grad) != weft.layout_of(parameter):
                wrong[path] = f"gradient laid out as {weft.layout_of(parameter.grad)}"
            got = weft.full_tensor(parameter.grad)
            error = ((got - want).norm() / (want.norm() + 1e-3 * largest)).item()
            if not error < 1e-4:
                wrong[path] = error
    got = weft.full_tensor(loss.detach()).item()
    return {"loss": got, "expected": expected.item(), "wrong": wrong, "compiled_again": after - before}


def generate(name: str, tokens: int) -> tuple[list, list]:
    """Greedy tokens of the plain and of the sharded model, with the key/value cache."""
    reference, batch = build(name)
    prompt = batch["input_ids"][:2, :5]
    settings = {"max_new_tokens": tokens, "do_sample": False, "use_cache": True, "pad_token_id": 0}
    expected = reference.eval().generate(prompt, **settings)
    model, _ = build(name)
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    weft.distribute_module(model.eval(), {**PLANS[name]}, mesh=mesh)
    return expected.tolist(), weft.full_tensor(model.generate(prompt, **settings)).tolist()
