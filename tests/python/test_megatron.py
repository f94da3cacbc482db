"""What `weft.layouts.megatron` makes of a model's structure."""

import pytest
import torch
import weft
from support.transformer import COLUMN, ROW, Model, got
from torch import nn


@pytest.fixture
def mesh():
    return weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")


def test_megatron_by_structure(mesh):
    model = Model()
    layouts = weft.layouts.megatron(model, mesh, "model")
    expected = {"words.weight": COLUMN, "out.weight": COLUMN}
    for b in ("blocks.0.", "blocks.1."):
        expected |= {b + f"mix.{n}.weight": COLUMN for n in ("one", "two", "three")} | {b + "mix.four.weight": ROW}
        expected |= {b + f"mix.{n}.bias": ("model",) for n in ("one", "two", "three")}
        expected |= {b + f"feed.{n}.weight": COLUMN for n in ("x", "z")} | {b + "feed.y.weight": ROW}
        expected |= {b + f"feed.{n}.bias": ("model",) for n in ("x", "z")}
    assert got(layouts, model) == expected
    assert "whole over model: places/weight (8, 16): not recognised" in repr(layouts)
    assert len(layouts) == 14, "one entry for both blocks"


def test_keys_and_values_of_fewer_heads(mesh):
    dividing = got(weft.layouts.megatron(Model(kv=8), mesh, "model"), Model(kv=8))
    assert dividing["blocks.0.mix.two.weight"] == dividing["blocks.0.mix.three.weight"] == COLUMN
    model = Model(kv=4)  # one head for four
    layouts = weft.layouts.megatron(model, mesh, "model")
    split = got(layouts, model)
    assert split["blocks.0.mix.one.weight"] == COLUMN and split["blocks.0.mix.four.weight"] == ROW
    assert not any("two" in p or "three" in p for p in split)
    assert "blocks/[0-1]/mix/two/weight (4, 16): 1 heads do not divide by 2" in repr(layouts)
    wider = got(weft.layouts.megatron(Model(inner=32, kv=16), mesh, "model"), Model(inner=32, kv=16))
    assert wider["blocks.1.mix.two.weight"] == COLUMN and wider["blocks.1.mix.four.weight"] == ROW


def test_heads_that_do_not_divide_stay_whole():
    mesh = weft.DeviceMesh((3,), ("model",), device_type="cpu")
    model = Model()
    layouts = weft.layouts.megatron(model, mesh, "model")
    split = got(layouts, model)
    assert not any(".mix." in p for p in split) and split["blocks.0.feed.y.weight"] == ROW
    assert "blocks/[0-1]/mix/four/weight (16, 16): 4 heads do not divide by 3" in repr(layouts)


class Layers(nn.Module):
    """Several things in one module."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)


def linear(*sizes):
    return nn.Linear(*sizes, bias=False)


@pytest.mark.parametrize(
    ("model", "split"),
    [
        # A sequence, whatever the widths; a layer of its own between needs the whole.
        (nn.Sequential(linear(8, 16), nn.ReLU(), linear(16, 4)), {"0.weight": COLUMN, "2.weight": ROW}),
        (nn.Sequential(linear(8, 8), nn.GELU(), linear(8, 8), linear(8, 8)), {"0.weight": COLUMN, "2.weight": ROW}),
        (nn.Sequential(linear(8, 16), nn.LayerNorm(16), linear(16, 4)), {}),
        # A block without modules in it, of both kinds.
        (
            Layers(q=linear(8, 8), k=linear(8, 4), v=linear(8, 4), o=linear(8, 8), g=linear(8, 12), u=linear(8, 12),
                   d=linear(12, 8)),
            {"q.weight": COLUMN, "k.weight": COLUMN, "v.weight": COLUMN, "o.weight": ROW, "g.weight": COLUMN,
             "u.weight": COLUMN, "d.weight": ROW},
        ),
        # In one matrix: queries, keys and values, before or after the row; gate and up.
        (Layers(o=linear(8, 8), qkv=linear(8, 16)), {"qkv.weight": COLUMN, "o.weight": ROW}),
        (Layers(both=linear(8, 24), down=linear(12, 8)), {"both.weight": COLUMN, "down.weight": ROW}),
        # Queries, keys and values in a module of their own, as BERT's.
        (
            Layers(own=Layers(q=linear(8, 8), k=linear(8, 8), v=linear(8, 8)), out=Layers(dense=linear(8, 8))),
            {"own.q.weight": COLUMN, "own.k.weight": COLUMN, "own.v.weight": COLUMN, "out.dense.weight": ROW},
        ),
        # Low rank, and a single layer: nothing to split.
        (Layers(a=Layers(m=linear(8, 2)), b=Layers(m=linear(2, 8))), {}),
        (linear(8, 8), {}),
        # A list of layers is no place to pair what is left.
        (Layers(a=Layers(m=linear(8, 16)), all=nn.ModuleList([Layers(m=linear(8, 8))]), b=Layers(m=linear(16, 8))), {}),
    ],
)  # fmt: skip
def test_pairs(mesh, model, split):
    assert got(weft.layouts.megatron(model, mesh, "model"), model) == split


@pytest.mark.parametrize("turned", [False, True], ids=["outputs first", "inputs first"])
@pytest.mark.parametrize("fused", [False, True])
def test_experts_in_stacks(mesh, turned, fused):
    def stack(outputs, inputs):
        return nn.Parameter(torch.zeros(4, inputs, outputs) if turned else torch.zeros(4, outputs, inputs))

    model = nn.Module()
    model.down = stack(8, 12)
    model.up = stack(24 if fused else 12, 8)
    model.up_bias = nn.Parameter(torch.zeros(4, 24 if fused else 12))
    model.down_bias = nn.Parameter(torch.zeros(4, 8))
    if not fused:
        model.gate = stack(12, 8)
    column, row = (None, "model", None), (None, None, "model")
    if turned:
        column, row = row, column
    expected = {"up": column, "down": row, "up_bias": (None, "model")} | ({} if fused else {"gate": column})
    assert got(weft.layouts.megatron(model, mesh, "model"), model) == expected


def test_square_experts_beside_fused_columns(mesh):
    model = nn.Module()
    model.both, model.down = nn.Parameter(torch.zeros(4, 16, 8)), nn.Parameter(torch.zeros(4, 8, 8))
    assert got(weft.layouts.megatron(model, mesh, "model"), model) == {
        "both": (None, "model", None),
        "down": (None, None, "model"),
    }
    alike = nn.Module()
    alike.one, alike.two = nn.Parameter(torch.zeros(4, 8, 8)), nn.Parameter(torch.zeros(4, 8, 8))
    assert got(weft.layouts.megatron(alike, mesh, "model"), alike) == {}, "nothing tells which feeds which"


@pytest.mark.parametrize("inner", [16, 24], ids=["square row", "wide row"])
@pytest.mark.parametrize("query", [False, True], ids=["queries at once", "queries in two steps"])
def test_low_rank_attention(mesh, inner, query):
    """DeepSeek's: what comes after the narrow layers is split by heads, these are not."""
    layers = {"qa": linear(16, 6), "qn": nn.LayerNorm(6), "qb": linear(6, 28)} if query else {"q": linear(16, 28)}
    layers |= {"ka": linear(16, 5), "kn": nn.LayerNorm(4), "kb": linear(4, 32), "o": linear(inner, 16)}
    model = Layers(**layers)
    model.num_heads = 4
    columns = ["qb", "kb"] if query else ["q", "kb"]
    split = got(weft.layouts.megatron(model, mesh, "model"), model)
    assert split == {f"{n}.weight": COLUMN for n in columns} | {"o.weight": ROW}


def test_multihead_attention_and_encoder_layers(mesh):
    layer = nn.TransformerDecoderLayer(16, 4, 24)
    split = got(weft.layouts.megatron(nn.TransformerDecoder(layer, 2), mesh, "model"), nn.TransformerDecoder(layer, 2))
    for path in ("layers.0.self_attn", "layers.1.multihead_attn"):
        assert split[f"{path}.in_proj_weight"] == COLUMN and split[f"{path}.in_proj_bias"] == ("model",)
        assert split[f"{path}.out_proj.weight"] == ROW and f"{path}.out_proj.bias" not in split
    assert split["layers.1.linear1.weight"] == COLUMN and split["layers.1.linear2.weight"] == ROW
    apart = nn.MultiheadAttention(16, 4, kdim=8, vdim=8)
    split = got(weft.layouts.megatron(apart, mesh, "model"), apart)
    assert {p: split[p] for p in split if "weight" in p} == {
        "q_proj_weight": COLUMN, "k_proj_weight": COLUMN, "v_proj_weight": COLUMN, "out_proj.weight": ROW
    }  # fmt: skip


def test_vocabulary(mesh):
    tied = Model(tie=True, words=9)
    split = got(weft.layouts.megatron(tied, mesh, "model"), tied)
    assert split["words.weight"] == split["out.weight"] == COLUMN, "tied: whatever its size"
    small = Model(words=9)
    table, largest = 9 * 16, 24 * 16
    assert 4 * table >= largest and "words.weight" in got(weft.layouts.megatron(small, mesh, "model"), small)
    tiny = Model(words=5)
    assert "words.weight" not in got(weft.layouts.megatron(tiny, mesh, "model"), tiny)


def test_weights_made_of_others(mesh):
    """What weight_norm and such make a weight of is not split."""
    model = Layers(words=nn.utils.parametrizations.weight_norm(nn.Embedding(64, 8)), a=linear(8, 16), b=linear(16, 8))
    nn.utils.parametrizations.weight_norm(model.a)
    layouts = weft.layouts.megatron(model, mesh, "model")
    assert got(layouts, model) == {} and "a/parametrizations/weight/original1 (16, 8): not recognised" in repr(layouts)
    made = got(weft.layouts.fsdp(model, mesh, "data", whole=0), model)
    assert made["a.parametrizations.weight.original1"] == ("data", None)


@pytest.mark.parametrize("config", [{"heads": 3, 0: 1, "num_heads": "x"}, 7, torch.Size([2])])
def test_heads_told_by_a_config_of_any_kind(config):
    model = Layers(q=linear(12, 12), k=linear(12, 12), v=linear(12, 12), o=linear(12, 12))
    model.config = config
    mesh = weft.DeviceMesh((2,), ("model",), device_type="cpu")
    split = got(weft.layouts.megatron(model, mesh, "model"), model)
    assert bool(split) == (not isinstance(config, dict)), "three heads do not divide by two"


def test_what_is_no_linear_layer_is_told(mesh):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    layouts = weft.layouts.megatron(model, mesh, "model")
    assert len(layouts) == 0 and "whole over model: 0/weight (8, 3, 3, 3): not recognised" in repr(layouts)
