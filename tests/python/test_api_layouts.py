"""Meshes, layouts and layout maps as Python sees them; one process."""

import copy
import pickle

import pytest
import torch
import weft


@pytest.fixture
def mesh():
    return weft.DeviceMesh((2, 4), ("data", "model"), device_type="cpu")


def test_mesh_attributes_and_identity(mesh):
    again = weft.DeviceMesh([2, 4], ["data", "model"], device_type="cpu")
    assert mesh == again and hash(mesh) == hash(again)
    assert mesh != weft.DeviceMesh((4, 2), ("data", "model"), device_type="cpu")
    assert (mesh.shape, mesh.axis_names, mesh.size) == ((2, 4), ("data", "model"), 8)
    assert mesh.ranks == tuple(range(8)) and mesh.device_type == "cpu"
    assert mesh.axis_size("model") == 4
    assert repr(mesh) == "DeviceMesh(data=2, model=4, device_type='cpu')" and str(mesh) == "mesh (data=2, model=4)"
    for same in (copy.copy(mesh), copy.deepcopy(mesh), pickle.loads(pickle.dumps(mesh))):
        assert same == mesh


@pytest.mark.parametrize("devices", [[1, 0], ["cpu:1", "cpu:0"], [["cpu:1"], ["cpu:0"]], torch.tensor([[1], [0]])])
def test_mesh_devices(devices):
    assert weft.DeviceMesh((2,), ("x",), devices, "cpu").ranks == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2, 2), ("x",)), "axis"),
        (((2, 2), ("x", "x")), "x"),
        (((0,), ("x",)), "0"),
        (((2,), ("x",), [0, 0]), "0"),
        (((2,), ("x",), [0, 1, 2]), "3"),
        (((2,), ("x",), ["cpu:a", 1]), "cpu:a"),
        (((2,), ("",)), "name"),
        (((2,), "x"), r"a tuple of names, such as \('model',\); got 'x'"),
    ],
)
def test_bad_mesh(arguments, words):
    with pytest.raises(ValueError, match=words):
        weft.DeviceMesh(*arguments)


def test_layout_attributes_and_identity(mesh):
    layout = weft.TensorLayout(["model", None, ["data"]], mesh)
    assert layout == weft.TensorLayout(("model", None, ("data",)), mesh)
    assert layout.axes == ("model", None, "data") and layout.device_mesh == mesh and layout.partial == {}
    assert weft.TensorLayout((("data", "model"),), mesh).axes == (("data", "model"),)
    assert weft.TensorLayout.replicated(mesh, 2).axes == (None, None)
    assert str(layout) == "(model, None, data)"
    assert repr(layout) == "TensorLayout((model, None, data) on mesh (data=2, model=4))"
    partial = weft.TensorLayout((None, "data"), mesh, {"model": "sum"})
    assert partial.partial == {"model": "sum"} and partial != weft.TensorLayout((None, "data"), mesh)
    for same in (copy.copy(partial), copy.deepcopy(partial), pickle.loads(pickle.dumps(partial))):
        assert same == partial
    assert pickle.loads(pickle.dumps({"a": layout}))["a"] == layout


@pytest.mark.parametrize(
    ("axes", "partial", "words"),
    [
        (("nope",), None, "nope.*data=2, model=4"),
        (("data", "data"), None, "'data' is used twice"),
        ((("data", "data"),), None, "'data' is used twice"),
        (("data",), {"data": "sum"}, "'data' both splits"),
        (("data",), {"model": "median"}, "median.*known: sum"),
        ((1,), None, "axis name, None or a tuple"),
        ("model", None, r"one entry per tensor dimension.*'model' is a single name; write \('model',\)"),
        (3, None, "a tuple with one entry per tensor dimension"),
    ],
)
def test_bad_layout(mesh, axes, partial, words):
    with pytest.raises(ValueError, match=words):
        weft.TensorLayout(axes, mesh, partial)


def test_placements_both_ways(mesh):
    from torch.distributed.tensor import Partial, Replicate, Shard

    cases = {
        (Shard(0), Replicate()): weft.TensorLayout(("data", None), mesh),
        (Shard(1), Shard(1)): weft.TensorLayout((None, ("data", "model")), mesh),
        (Partial("sum"), Shard(0)): weft.TensorLayout(("model", None), mesh, {"data": "sum"}),
        (Replicate(), Replicate()): weft.TensorLayout((None, None), mesh),
    }
    for placements, layout in cases.items():
        assert weft.TensorLayout.from_placements(placements, mesh, 2) == layout
        assert layout.placements() == placements
    assert weft.TensorLayout.from_placements((Shard(-1), Replicate()), mesh, 2).axes == (None, "data")
    with pytest.raises(ValueError, match="no counterpart"):
        weft.TensorLayout((("model", "data"),), mesh).placements()
    with pytest.raises(ValueError, match="one per axis"):
        weft.TensorLayout.from_placements((Shard(0),), mesh, 2)
    with pytest.raises(ValueError, match="not a dimension"):
        weft.TensorLayout.from_placements((Shard(2), Replicate()), mesh, 2)


def test_layout_map_rules(mesh):
    layouts = weft.LayoutMap(mesh, {r"layers/\d+/q/weight": ("model", None)})
    layouts["layers/0/special"] = weft.TensorLayout((None, "data"), mesh)
    layouts[r".*special"] = ["data", ["model"]]
    assert len(layouts) == 3 and list(layouts)[0] == r"layers/\d+/q/weight"
    assert layouts["layers.7.q.weight"] == layouts["layers/7/q/weight"] == weft.TensorLayout(("model", None), mesh)
    assert layouts["layers/0/special"].axes == (None, "data"), "an exact key wins"
    assert layouts["layers/1/special"].axes == ("data", "model")
    assert layouts["elsewhere"] is None and layouts.get("elsewhere", 3) == 3
    assert r".*special" in layouts and "layers/7/q/weight" not in layouts
    match = layouts.lookup("layers.7.q.weight")
    assert match.pattern == r"layers/\d+/q/weight" and match.axes == ("model", None)
    assert layouts.layout_for("elsewhere", (2, 2)).axes == (None, None)
    assert "3 entries" in repr(layouts) and "-> ('model', None)" in repr(layouts)
    del layouts[r".*special"]
    assert layouts["layers/1/special"] is None
    with pytest.raises(ValueError, match="nope"):
        del layouts["nope"]


def test_layout_map_translates_leaf_names(mesh):
    layouts = weft.LayoutMap(mesh, {"dense/kernel": (None, "model")})
    assert layouts.layout_for("dense.weight", (8, 4), "Linear").axes == ("model", None)
    assert layouts.layout_for("dense.weight", (8, 4)).axes == (None, None), "only where the type is known"


def test_bad_layout_map(mesh):
    layouts = weft.LayoutMap(mesh, {"a.*": (None,), ".*b": ("data",)})
    with pytest.raises(ValueError, match=r"'ab'.*2 entries.*'a\.\*'.*'\.\*b'"):
        layouts["ab"]
    with pytest.raises(ValueError, match=r"\(oops"):
        layouts["(oops"] = (None,)
    with pytest.raises(ValueError, match=r"\(\?=look\)"):
        layouts["(?=look)"] = (None,)
    with pytest.raises(ValueError, match="a.*is there already"):
        layouts["a.*"] = (None,)
    with pytest.raises(ValueError, match="nope.*data=2, model=4"):
        layouts["c"] = ("nope",)
    with pytest.raises(ValueError, match="twice"):
        layouts["c"] = ("data", "data")
    with pytest.raises(ValueError, match="2 dimensions"):
        layouts.layout_for("ax", (2, 2))
    other = weft.DeviceMesh((8,), ("data",), device_type="cpu")
    with pytest.raises(ValueError, match="data=8"):
        layouts["c"] = weft.TensorLayout(("data",), other)
    with pytest.raises(ValueError, match="DeviceMesh"):
        weft.LayoutMap(None)
    with pytest.raises(ValueError, match=r"pattern 'c'.*'model' is a single name; write \('model',\)"):
        layouts["c"] = "model"
    with pytest.raises(ValueError, match=r"any characters are '\.\*': write '\.\*/weight'"):
        layouts["*/weight"] = ("model", None)
    assert list(layouts) == ["a.*", ".*b"], "an error changes nothing"


def test_layout_map_files(mesh, tmp_path):
    layouts = weft.LayoutMap(mesh, {"a.*": ("model", None, ("data",)), "b": ()})
    for same in (
        pickle.loads(pickle.dumps(layouts)),
        copy.deepcopy(layouts),
        weft.LayoutMap.from_json(layouts.to_json()),
    ):
        assert same.rules() == layouts.rules() and same.device_mesh == mesh
    layouts.save(tmp_path / "plan.json")
    other = weft.DeviceMesh((4, 2), ("data", "model"), device_type="cpu")
    assert weft.LayoutMap.load(tmp_path / "plan.json").device_mesh == mesh
    assert weft.LayoutMap.load(tmp_path / "plan.json", other).device_mesh == other
    with pytest.raises(ValueError, match="layout map:1:3"):
        weft.LayoutMap.from_json("{nonsense")


def test_register_layouts_as_call_and_as_scope(mesh):
    one = weft.DeviceMesh((1,), ("x",), device_type="cpu")
    outer, inner = weft.LayoutMap(one, {"w": ("x",)}), weft.LayoutMap(one)
    assert weft.active_layouts() is None
    with pytest.raises(ValueError, match="'w'.*register_layouts"):
        weft.tag(torch.ones(2), "w")
    with pytest.raises(ValueError, match="LayoutMap, or None, is needed here, not an object of type dict"):
        weft.register_layouts({"w": ("x",)})
    with weft.register_layouts(outer) as active:
        assert active == outer == weft.active_layouts()
        with weft.register_layouts(inner):
            assert weft.active_layouts() == inner
            assert weft.layout_of(weft.tag(torch.ones(2), "w")).axes == (None,)
        tagged = weft.tag(torch.ones(2), "w")
        assert weft.layout_of(tagged).axes == ("x",) and weft.path_of(tagged) == "w"
        weft.register_layouts(None)
        assert weft.active_layouts() is None
    assert weft.active_layouts() is None


def test_tag_keeps_what_a_variable_is():
    mesh = weft.DeviceMesh((1,), ("x",), device_type="cpu")
    with weft.register_layouts(weft.LayoutMap(mesh, {"a/weight": ("x", None)})):
        parameter = weft.tag(torch.nn.Parameter(torch.ones(2, 2)), "a.weight")
        assert isinstance(parameter, torch.nn.Parameter) and parameter.requires_grad and parameter.is_leaf
        assert weft.path_of(parameter) == "a/weight"
        frozen = weft.tag(torch.nn.Parameter(torch.ones(2, 2), requires_grad=False), "a.weight")
        assert not frozen.requires_grad
        x = torch.ones(2, 2, requires_grad=True)
        weft.full_tensor(weft.tag(x * 2, "a.weight")).sum().backward()
        assert torch.equal(x.grad, torch.full((2, 2), 2.0)), "an activation is laid out differentiably"
        counts = weft.tag(torch.ones(2, 2, dtype=torch.int64), "a.weight")
        assert counts.dtype == torch.int64
        assert weft.tag(parameter, "other") is not parameter, "redistributed: replicated now"
        with pytest.raises(ValueError, match="'a.weight'|a/weight"):
            weft.tag(torch.ones(2), "a.weight")


LONE = "a\ud800"
NO_TEXT = {
    "axis name": lambda s, m: weft.DeviceMesh((1,), (s,), device_type="cpu"),
    "device type": lambda s, m: weft.DeviceMesh((1,), ("a",), device_type=s),
    "device": lambda s, m: weft.DeviceMesh((1,), ("a",), [s], "cpu"),
    "axis asked for": lambda s, m: m.axis_size(s),
    "axis": lambda s, m: weft.TensorLayout((s,), m),
    "one of several axes": lambda s, m: weft.TensorLayout((("data", s),), m),
    "pending axis": lambda s, m: weft.TensorLayout((None,), m, {s: "sum"}),
    "reduction": lambda s, m: weft.TensorLayout((None,), m, {"data": s}),
    "pattern": lambda s, m: weft.LayoutMap(m, {s: (None,)}),
    "pattern's axis": lambda s, m: weft.LayoutMap(m, {"a": (s,)}),
    "erased pattern": lambda s, m: weft.LayoutMap(m).__delitem__(s),
    "path": lambda s, m: weft.LayoutMap(m)[s],
    "matching": lambda s, m: weft.LayoutMap(m).matching(s),
    "layout_for": lambda s, m: weft.LayoutMap(m).layout_for("a", (1,), s),
    "plan": lambda s, m: weft.LayoutMap.from_json(s),
    "file to load": lambda s, m: weft.LayoutMap.load(s),
    "file to save": lambda s, m: weft.LayoutMap(m).save(s),
    "tag": lambda s, m: weft.tag(torch.ones(1), s),
    "module type": lambda s, m: weft.tag(torch.ones(1), "a", s),
    "addresses": lambda s, m: weft.initialize(job_addresses=s, num_processes=1),
    "devices": lambda s, m: weft.list_devices(s),
    "random mode": lambda s, m: weft.random_mode(s),
    "op": lambda s, m: weft.register_rule(s, "m -> m"),
    "rule": lambda s, m: weft.register_rule("aten::frac", s),
    "checked rule": lambda s, m: weft.check_rule("aten::frac", s, (torch.ones(4),)),
    "batch": lambda s, m: weft.shard_batch(torch.ones(2), m, s),
}


@pytest.mark.parametrize("entry", NO_TEXT)
@pytest.mark.parametrize("value", [LONE, "x" * 5000], ids=["lone surrogate", "long"])
def test_a_string_that_is_none_is_a_short_value_error(entry, value):
    mesh = weft.DeviceMesh((1,), ("data",), device_type="cpu")
    try:
        NO_TEXT[entry](value, mesh)
    except ValueError as error:
        assert len(str(error)) < 1500, str(error)
        assert value is not LONE or "surrogate at position 1" in str(error) or entry == "device", str(error)
    except OSError as error:
        assert entry.startswith("file") and value is not LONE, error
    else:
        assert value is not LONE, entry


@pytest.mark.parametrize("value", [5, None, b"a", object()])
def test_what_is_no_string_is_named(mesh, value):
    with pytest.raises(ValueError, match=f"axis name must be a str, not {type(value).__name__}"):
        weft.DeviceMesh((1,), (value,), device_type="cpu")
    with pytest.raises(ValueError, match=f"pattern must be a str, not {type(value).__name__}"):
        weft.LayoutMap(mesh)[value] = (None,)
    assert value not in weft.LayoutMap(mesh) and LONE not in weft.LayoutMap(mesh)


def test_modules_with_names_that_are_no_text(mesh):
    module = torch.nn.Module()
    module.register_parameter(LONE, torch.nn.Parameter(torch.ones(2)))
    alone = weft.DeviceMesh((1,), ("data",), device_type="cpu")
    with pytest.raises(ValueError, match="path .*lone surrogate at position 1"):
        weft.distribute_module(module, mesh=alone)
    with pytest.raises(ValueError, match="path .*lone surrogate at position 1"):
        weft.report(module, weft.LayoutMap(alone))


@pytest.mark.parametrize("axes", [("x", None), (None, None)])
def test_full_tensor_is_memory_of_its_own(axes):
    sharded = weft.distribute_tensor(torch.ones(4, 4), axes, weft.DeviceMesh((1,), ("x",), device_type="cpu"))
    weft.full_tensor(sharded)[3, 3] = 100.0
    assert sharded.sum().item() == 16
    parameter = torch.nn.Parameter(sharded)
    weft.full_tensor(parameter).sum().backward()
    assert torch.equal(weft.full_tensor(parameter.grad), torch.ones(4, 4))


def test_is_set_to():
    mesh = weft.DeviceMesh((1,), ("x",), device_type="cpu")
    x, y = (weft.distribute_tensor(torch.ones(4, 4), (None, None), mesh) for _ in range(2))
    assert x.is_set_to(x)
    assert x.is_set_to(x.view(4, 4))
    assert not x.is_set_to(y)
    assert not x.is_set_to(x[1:])
