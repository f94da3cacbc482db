"""weft.layouts: which layout each variable of a model gets, what stays whole and why, and maps joined with `|`."""

import copy
import pickle

import pytest
import torch
import weft
from torch import nn


@pytest.fixture
def mesh():
    return weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")


def got(layouts, model):
    """What each parameter gets that is split, by path."""
    found = {}
    for path, p in model.named_parameters(remove_duplicate=False):
        axes = layouts.layout_for(path, p.shape).axes
        if any(axes):
            found[path] = axes
    return found


COLUMN, ROW = ("model", None), (None, "model")


class Attention(nn.Module):
    def __init__(self, d, kv=None, heads=4, inner=None):
        super().__init__()
        inner = inner or d
        self.heads_count = heads
        self.one, self.two, self.three = nn.Linear(d, inner), nn.Linear(d, kv or inner), nn.Linear(d, kv or inner)
        self.four = nn.Linear(inner, d)


class Gated(nn.Module):
    """The row in the middle: names and order tell nothing."""

    def __init__(self, d, hidden):
        super().__init__()
        self.x, self.y, self.z = nn.Linear(d, hidden), nn.Linear(hidden, d), nn.Linear(d, hidden)


class Block(nn.Module):
    def __init__(self, d=16, hidden=24, **attention):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(d), Attention(d, **attention)
        self.feed = Gated(d, hidden)


class Model(nn.Module):
    def __init__(self, layers=2, tie=False, words=64, **block):
        super().__init__()
        self.words, self.places = nn.Embedding(words, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(Block(**block) for _ in range(layers))
        self.out = nn.Linear(16, words, bias=False)
        self.register_buffer("mask", torch.ones(8, 8))
        if tie:
            self.out.weight = self.words.weight


# ---- fsdp ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "parts", "axes"),
    [
        ((6, 8), 2, (None, "data")),  # the larger
        ((6, 7), 2, ("data", None)),  # the one that divides
        ((7, 9), 2, (None, "data")),  # none divides: the largest
        ((4, 4), 2, ("data", None)),
        ((3,), 2, ("data",)),
        ((2, 1), 4, (None, None)),  # no row for every part
        ((), 2, ()),
        ((0, 4), 2, (None, "data")),
        ((2, 3, 5, 4), 4, (None, None, None, "data")),
    ],
)
def test_fsdp_splits_one_dimension(shape, parts, axes):
    model = nn.Module()
    model.p = nn.Parameter(torch.zeros(shape))
    mesh = weft.DeviceMesh((parts,), ("data",), device_type="cpu")
    layouts = weft.layouts.fsdp(model, mesh, "data", whole=0)
    assert layouts.layout_for("p", shape).axes == axes


def test_fsdp_of_a_model(mesh):
    model = Model(tie=True)
    layouts = weft.layouts.fsdp(model, mesh, "data", whole=0)
    split = got(layouts, model)
    assert set(split) == {p for p, _ in model.named_parameters(remove_duplicate=False)}, "norms and biases too"
    assert split["words.weight"] == split["out.weight"] == ("data", None), "tied: under both names"
    assert split["blocks.1.norm.weight"] == ("data",) and layouts["mask"] is None, "buffers are whole"
    assert layouts.rules()[0] == ("words/weight", ("data", None))
    assert (r"blocks/\d+/feed/y/weight", (None, "data")) in layouts.rules(), "repeated modules make one entry"
    assert "whole over" not in repr(layouts)


def test_fsdp_leaves_the_smallest_whole(mesh):
    model = Model(tie=True)  # of 16 elements there are 14 parameters, of 24 there are 4, of 128 there is 1
    sizes = {path: p.numel() for path, p in model.named_parameters()}
    assert sum(sizes.values()) == 5824
    for share, smallest in ((0, 16), (0.07, 16), (0.08, 24), (0.12, 128), (0.2, 256), (1, 384)):
        layouts = weft.layouts.fsdp(model, mesh, "data", whole=share)
        whole = {path for path in sizes if path not in got(layouts, model)}
        assert whole == {path for path, size in sizes.items() if size < smallest}, share
    layouts = weft.layouts.fsdp(model, mesh, "data", whole=0.1)
    assert "whole over data: 14 of 34 parameters, of 224 of 5824 elements: fewer than 24 elements" in repr(layouts)
    large = Model(words=4096)
    assert not any("norm" in p for p in got(weft.layouts.fsdp(large, mesh, "data"), large)), "by default: 1 %"


def test_fsdp_over_several_axes(mesh):
    model = Model()
    both = weft.layouts.fsdp(model, mesh, ("data", "model"), whole=0)
    assert got(both, model)["blocks.0.feed.x.weight"] == (("data", "model"), None)


# ---- megatron ------------------------------------------------------------------------------------------------------


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


def test_what_is_no_linear_layer_is_told(mesh):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    layouts = weft.layouts.megatron(model, mesh, "model")
    assert len(layouts) == 0 and "whole over model: 0/weight (8, 3, 3, 3): not recognised" in repr(layouts)


# ---- both, and both joined -----------------------------------------------------------------------------------------


def make_both(model, mesh):
    return weft.layouts.fsdp(model, mesh, "data", whole=0) | weft.layouts.megatron(model, mesh, "model")


def test_joined(mesh):
    model = Model(tie=True)
    layouts = make_both(model, mesh)
    split = got(layouts, model)
    assert split["blocks.1.feed.x.weight"] == (("model", "data"), None), "gathered where used: the inner"
    assert split["blocks.1.mix.four.weight"] == ("data", "model")
    assert split["blocks.0.mix.one.bias"] == (("model", "data"),) and split["blocks.0.norm.bias"] == ("data",)
    assert split["words.weight"] == split["out.weight"] == (("model", "data"), None)
    other = weft.layouts.megatron(model, mesh, "model") | weft.layouts.fsdp(model, mesh, "data", whole=0)
    assert got(other, model) == split, "in either order"
    assert type(layouts) is weft.LayoutMap and got(layouts | layouts, model) == split
    assert "places/weight (8, 16): not recognised" in repr(layouts)


def test_joined_with_a_map_by_hand(mesh):
    model = Model(layers=3, tie=True)
    hand = weft.LayoutMap(
        mesh, {r"blocks/2/.*/one/weight": (None, "model"), "out/weight": ("model", None), "x/y": ("data",)}
    )
    layouts = weft.layouts.fsdp(model, mesh, "data", whole=0) | hand
    split = got(layouts, model)
    assert split["blocks.2.mix.one.weight"] == ("data", "model") and split["blocks.1.mix.one.weight"] == ("data", None)
    assert split["words.weight"] == split["out.weight"] == (("model", "data"), None), "one of two tied names is enough"
    assert layouts["x/y"].axes == ("data",), "entries for other variables stay"


def test_maps_by_hand_joined(mesh):
    one = weft.LayoutMap(mesh, {r"a/\d+": ("data", None), "b/c": (None, "data"), "only": ("model",)})
    two = weft.LayoutMap(mesh, {r"a/\d+": ("model", None), r"b/.*": (None, "model"), "mine": ()})
    both = one | two
    assert both.rules() == [
        (r"a/\d+", (("data", "model"), None)),
        ("b/c", (None, ("data", "model"))),
        ("only", ("model",)),
        (r"b/.*", (None, "model")),
        ("mine", ()),
    ]
    assert both["b/c"].axes == (None, ("data", "model")), "the path wins over the pattern"
    assert (two | one)["b/c"].axes == (None, ("model", "data"))
    crossing = weft.LayoutMap(mesh, {r".*/1": ("data", None)}) | weft.LayoutMap(mesh, {r"a/.*": ("model", None)})
    with pytest.raises(ValueError, match="'a/1' matches 2 entries"):
        crossing["a/1"]


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (("model", None), (None, "model"), "axis 'model' splits dimension 0 in one and 1 in the other"),
        (("model", None), ("model",), "their numbers of dimensions differ"),
        ((("data", "model"), None), (("model", "data"), None), "the axes of dimension 0 are in another order"),
    ],
)
def test_conflicts_name_path_and_both(mesh, one, two, words):
    with pytest.raises(ValueError, match="'a/weight' is .*in the first map and .* in the second") as error:
        weft.LayoutMap(mesh, {"a/weight": one}) | weft.LayoutMap(mesh, {"a/weight": two})
    assert words in str(error.value) and str(one) in str(error.value) and str(two) in str(error.value)


def test_conflicts_of_made_maps(mesh):
    model = Model()
    with pytest.raises(ValueError, match=r"'blocks.0.feed.y.weight' is \(None, 'model'\) in the first"):
        weft.layouts.megatron(model, mesh, "model") | weft.LayoutMap(mesh, {"blocks/0/feed/y/weight": ("model", None)})
    other = weft.DeviceMesh((4,), ("data",), device_type="cpu")
    with pytest.raises(ValueError, match="data=2, model=2.*data=4"):
        weft.layouts.megatron(model, mesh, "model") | weft.layouts.fsdp(model, other, "data")
    with pytest.raises(ValueError, match=r"'words.weight' is \(64, 16\) in one model and \(32, 16\) in the other"):
        weft.layouts.megatron(model, mesh, "model") | weft.layouts.fsdp(Model(words=32), mesh, "data")
    with pytest.raises(TypeError):
        weft.layouts.megatron(model, mesh, "model") | {"a": ("data",)}


# ---- an ordinary map -----------------------------------------------------------------------------------------------


def test_what_is_set_afterwards_counts(mesh):
    model = Model()
    layouts = weft.layouts.megatron(model, mesh, "model")
    before = layouts.rules()
    layouts["out/weight"] = (None, None)
    layouts["words.weight"] = (None, "model")  # the path's other form
    layouts[r"blocks/\d+/feed/y/weight"] = ("data", "model")
    layouts["blocks/1/feed/x/weight"] = (None, "data")
    assert layouts["out.weight"].axes == (None, None) and layouts["words/weight"].axes == (None, "model")
    assert layouts["blocks.0.feed.y.weight"].axes == ("data", "model")
    assert layouts["blocks.1.feed.x.weight"].axes == (None, "data")
    assert layouts["blocks.0.feed.x.weight"].axes == ("model", None)
    assert len(layouts) == len(before) + 1
    with pytest.raises(ValueError, match="nope"):
        layouts[r"blocks/\d+/feed/z/weight"] = ("nope", None)
    assert layouts["blocks.0.feed.z.weight"].axes == ("model", None), "an error changes nothing"
    joined = layouts | weft.LayoutMap(mesh)
    assert got(joined, model) == got(layouts, model)
    layouts[r"blocks/.*/one/weight"] = (None, "model")
    with pytest.raises(ValueError, match=r"matches 2 entries: .*mix/one/weight.*blocks/\.\*/one/weight"):
        layouts["blocks.0.mix.one.weight"]
    hand = weft.LayoutMap(mesh, {"a": ("data",)})
    with pytest.raises(ValueError, match="'a' is there already"):
        hand["a"] = ("model",)


def test_copies_and_files(mesh, tmp_path):
    model = Model()
    layouts = make_both(model, mesh)
    copied = copy.deepcopy(layouts)
    assert repr(copied) == repr(layouts) and got(copied, model) == got(layouts, model)
    copied["out/weight"] = (None, None)
    assert layouts["out/weight"].axes == (("model", "data"), None)
    layouts.save(tmp_path / "plan.json")
    for same in (pickle.loads(pickle.dumps(layouts)), weft.LayoutMap.load(tmp_path / "plan.json")):
        assert same.rules() == layouts.rules()


def test_entries_match_their_paths_alone(mesh):
    """Where repeated modules differ, and paths have characters that patterns read otherwise."""
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Linear(4, n) for n in (2, 8, 2, 8, 8))
    model.deep = nn.ModuleList(nn.ModuleList(nn.Linear(4, n) for n in row) for row in ((2, 8, 8), (8, 8, 2)))
    model.odd = nn.ModuleDict({"a+b(c": nn.Linear(4, 8), "axb": nn.Linear(8, 4)})
    layouts = weft.layouts.fsdp(model, mesh, "data", whole=0)
    for path, p in model.named_parameters():
        wanted = tuple("data" if d == p.shape.index(max(p.shape)) else None for d in range(p.dim()))
        assert layouts.layout_for(path, p.shape).axes == wanted, path
    assert "layers/(1|3|4)/weight" in layouts and r"deep/\d+/\d+/bias" in layouts


def test_made_on_the_meta_device(mesh):
    with torch.device("meta"):
        model = Model(tie=True)
    assert make_both(model, mesh).rules() == make_both(Model(tie=True), mesh).rules()


@pytest.mark.parametrize("make", [weft.layouts.fsdp, weft.layouts.megatron])
def test_misuse(mesh, make):
    with pytest.raises(ValueError, match=f"layouts.{make.__name__}: a torch.nn.Module is needed, got dict"):
        make({}, mesh, "model")
    with pytest.raises(ValueError, match="a weft.DeviceMesh is needed, got str"):
        make(Model(), "mesh", "model")
    with pytest.raises(ValueError, match="nope.*data=2, model=2"):
        make(Model(), mesh, "nope")
    for axis in (None, (), 3, ("model", "model")):
        with pytest.raises(ValueError, match="neither a mesh axis nor several different ones"):
            make(Model(), mesh, axis)
    with pytest.raises(ValueError, match="0.weight has no shape yet"):
        make(nn.Sequential(nn.LazyLinear(4)), mesh, "model")
    with pytest.raises(ValueError, match="whole must be a share from 0 to 1, not 2"):
        weft.layouts.fsdp(Model(), mesh, "data", whole=2)
