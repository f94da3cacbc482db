"""Layouts for any model: columns and rows, splits drawn from the variables' names, activations alone, its own plan."""

import hashlib
import re

import torch
import weft

# Paths of a layer whose columns (outputs) are split; what it feeds is split by rows (inputs). The first match holds.
ROW = re.compile(
    r"(^|[./])(o_proj|out_proj|down_proj|fc2|wo|w2|dense_4h_to_h|c_proj|proj_out|output[./]dense|attention[./]dense"
    r"|self_attention[./]dense|dense_output|pwconv2|output_dense|out_lin|lin2|ff[./]3|linear2|mlp[./]3|o|proj"
    r"|linear_out|conv2|conv3|reduce_conv|project|fc_out|ffn_output|x_proj|mlp[./]projection|output_linear|layer_2"
    r"|to_out[./]0|to_add_out|net[./]2|pw_proj[./]conv|nn[./]2|lins[./]1|lin_root|lin_r)$"
)
COLUMN = re.compile(
    r"(^|[./])(q|k|v|q_proj|k_proj|v_proj|qkv_proj|qkv|query|key|value|query_key_value|in_proj|in_proj_|gate_proj"
    r"|up_proj|gate_up_proj|wi|wi_0|wi_1|w1|w3|fc1|fc_in|c_fc|c_attn|dense_h_to_4h|intermediate[./]dense"
    r"|intermediate_dense|q_lin|k_lin|v_lin|lin1|ff[./]0|linear1|pwconv1|mlp[./]0|Wi|Wqkv|q_b_proj|kv_b_proj|input_linear|ffn"
    r"|query_proj|key_proj|value_proj|linear_y|linear_x|conv1|expand_conv|layer_1|dt_proj|classifier.*|fc|embed_tokens"
    r"|wte|word_embeddings|shared|embeddings|embed_in|tok_embeddings|to_[qkv]|add_[qkv]_proj|pw_exp[./]conv|conv_dw"
    r"|primary_conv[./]0|cheap_operation[./]0|nn[./]0|lins[./]0|lin_rel|lin_l|lin_(key|query|value|f|s)"
    r"|convs[./]\d+[./]lin)$"
)
PLANS = ("column_row", "drawn", "activations")
OWN = "own"  # of transformers models that carry one, beside FSDP over a first axis of two


def layouts_of(name: str, model: torch.nn.Module, mesh: weft.DeviceMesh) -> weft.LayoutMap:
    if name != OWN:
        return weft.LayoutMap(mesh, plan_of(name, model, mesh.axis_names))
    own = weft.hf.layouts(model, mesh)
    return weft.layouts.fsdp(model, mesh, mesh.axis_names[0]) | own if len(mesh.shape) > 1 else own


def plan_of(name: str, model: torch.nn.Module, axes: tuple[str, ...]) -> dict[str, tuple]:
    """Layouts by the path of each variable; `axes`: the mesh's."""
    if name == "drawn":
        return drawn(model, axes)
    return columns_and_rows(model, axes[-1]) if name == "column_row" else {}


def columns_and_rows(model: torch.nn.Module, axis: str) -> dict[str, tuple]:
    """Megatron's scheme as far as names tell it; convolutions by their output or input channels."""
    plan: dict[str, tuple] = {}
    for path, parameter in model.named_parameters():
        owner, _, leaf = path.rpartition(".")
        if parameter.dim() == 3 and re.search(r"(gate_up|down)_proj$", leaf):  # [experts, ., .]
            plan[path] = (None, axis, None) if leaf == "gate_up_proj" else (None, None, axis)
            continue
        side = split_side(owner, leaf)
        if side is None:
            continue
        if type(model.get_submodule(owner)).__name__ == "Conv1D":  # GPT-2's, whose weight is [in, out]
            side = 1 - side
            column = side == 1
        else:
            column = side == 0
        if parameter.dim() == 1:
            if column:
                plan[path] = (axis,)
        elif parameter.dim() > side and parameter.shape[side] > 1:
            plan[path] = tuple(axis if d == side else None for d in range(parameter.dim()))
    return plan


def split_side(owner: str, leaf: str) -> int | None:
    """0: outputs, 1: inputs, None: replicated."""
    if leaf in ("in_proj_weight", "in_proj_bias") or re.match(r"(weight|bias)_(ih|hh)_l", leaf):
        return 0
    if leaf not in ("weight", "bias") or re.search(r"norm|bn\d?$", owner.rpartition(".")[2]):
        return None
    return 1 if ROW.search(owner) else 0 if COLUMN.search(owner) else None


def drawn(model: torch.nn.Module, axes: tuple[str, ...]) -> dict[str, tuple]:
    """Every variable split on a dimension, over axes, that its name draws."""
    choices = (*axes, axes, axes[::-1]) if len(axes) > 1 else axes
    plan = {}
    for name, parameter in model.named_parameters():
        draw = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        split: list = [None] * parameter.dim()
        if split:
            split[draw % len(split)] = choices[draw // 7 % len(choices)]
        plan[name] = tuple(split)
    return plan


def shard_inputs(name: str, batch: dict, mesh: weft.DeviceMesh) -> dict:
    """The batch over a first axis of two; under the plan of activations, the sequence or the rows over the last."""
    axes = mesh.axis_names
    if name != "activations":
        return weft.shard_batch(batch, mesh, axes[0]) if len(axes) > 1 else batch

    def lay_out(x: object) -> object:
        if isinstance(x, (list, tuple)):
            return type(x)(map(lay_out, x))
        if isinstance(x, dict):
            return {k: lay_out(v) for k, v in x.items()}
        if not isinstance(x, torch.Tensor) or not x.dim():
            return x
        split: list = [None] * x.dim()
        split[0] = axes[0]
        if len(axes) > 1 and x.dim() > 1:
            split[2 if x.dim() == 4 else 1] = axes[-1]
        return weft.distribute_tensor(x, tuple(split), mesh)

    return lay_out(batch)
