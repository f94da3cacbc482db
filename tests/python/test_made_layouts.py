"""weft.layouts: which layout each variable of a model gets, what stays whole and why, and maps joined with `|`."""

import copy
import pickle

import pytest
import torch
import weft
from support.transformer import Model, got
from torch import nn


@pytest.fixture
def mesh():
    return weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")


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
    assert "whole over data: 14 of 34 parameters: fewer than 24 elements, or than 2 rows" in repr(layouts)
    assert "whole over data: 3.8% of 5824 elements in all" in repr(layouts)
    large = Model(words=4096)
    assert not any("norm" in p for p in got(weft.layouts.fsdp(large, mesh, "data"), large)), "by default: 1 %"


def test_fsdp_over_several_axes(mesh):
    model = Model()
    both = weft.layouts.fsdp(model, mesh, ("data", "model"), whole=0)
    assert got(both, model)["blocks.0.feed.x.weight"] == (("data", "model"), None)


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
    forms = weft.LayoutMap(mesh, {"a.b": ("data", None)}) | weft.LayoutMap(mesh, {"a/b": ("model", None)})
    assert forms["a.b"] == forms["a/b"] and forms["a/b"].axes == (("data", "model"), None), "one path in two forms"
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
