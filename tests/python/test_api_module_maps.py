"""distribute_module: maps that are wrong, differ between ranks or leave variables out, and what is told of them."""

import copy
import warnings

import pytest
import torch
import weft
from support.token_net import Net, loss_of, make, mesh_of
from torch import nn


def test_bad_maps_change_nothing():
    net, _ = make(1)
    mesh = mesh_of(1)
    with pytest.raises(ValueError, match="no layout map given"):
        weft.distribute_module(net)
    for entries, words in (
        ({"norm/bias": ("m", None)}, "norm.bias.*1 dimensions"),
        ({".*bias": ("m",), "norm.*": ("m",)}, "norm.*matches 2 entries"),
        ({"embed/weight": ("m", None), "head/weight": (None, "m")}, "one variable"),
    ):
        with pytest.raises(ValueError, match=words):
            weft.distribute_module(net, entries, mesh=mesh)
        assert not any(weft.is_sharded(p) for p in [*net.parameters(), *net.buffers()])
    with pytest.raises(ValueError, match="needs a mesh"):
        weft.distribute_module(net, {})
    loss = loss_of(net)
    with pytest.raises(ValueError, match="live autograd graph"):
        weft.distribute_module(net, mesh=mesh)
    assert not any(weft.is_sharded(p) for p in net.parameters())
    del loss
    weft.distribute_module(net, mesh=mesh)
    with pytest.raises(ValueError, match="lazy|no shape yet"):
        weft.distribute_module(nn.LazyLinear(3), mesh=mesh)


def test_can_be_called_again_while_its_error_is_kept():
    net, mesh = make(1)[0], mesh_of(1)
    with pytest.raises(ValueError, match="one variable") as kept:
        weft.distribute_module(net, {"embed/weight": ("m", None), "head/weight": (None, "m")}, mesh=mesh)
    weft.distribute_module(net, mesh=mesh)
    assert kept.value.__traceback__ is not None and weft.is_sharded(net.head.weight)


def test_attribute_computed_from_variables_is_named():
    """The deprecated weight_norm computes one by a hook, which sets it again."""
    with pytest.warns(FutureWarning):
        net = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 6)))
    x = torch.ones(2, 4)
    expected = net(x).detach()
    words = r"W052.*0\.weight_g, 0\.weight_v; 0\.weight, computed.*parametrizations\.weight_norm"
    with pytest.raises(ValueError, match=words):
        weft.distribute_module(net, mesh=mesh_of(1))
    del net[0].weight
    weft.distribute_module(net, mesh=mesh_of(1))
    torch.testing.assert_close(weft.full_tensor(net(x)), expected)


def test_active_map_and_redistribution():
    net, layouts = make(1)
    with weft.register_layouts(layouts):
        weft.distribute_module(net)
    assert weft.layout_of(net.scale).axes == ("m",)
    weft.distribute_module(net, mesh=mesh_of(1))
    assert weft.layout_of(net.scale).axes == (None,)


def wrong_on_one_rank(what):
    mesh = mesh_of(2)
    if what == "size":
        net = nn.Linear(4, 4 + weft.rank())
    elif what == "values":
        torch.manual_seed(weft.rank())
        net = nn.Linear(4, 4)
    try:
        return told(net, mesh=mesh)
    except ValueError as e:
        assert not weft.is_sharded(net.weight)
        return str(e)


def told(net, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weft.distribute_module(net, *args, **kwargs)
    return "\n---\n".join(str(w.message) for w in caught)


def test_variables_that_differ_between_ranks(ranks2):
    for message in ranks2(wrong_on_one_rank, "size"):
        assert "module's variables" in message and "rank 1 differs from rank 0" in message
    first, second = ranks2(wrong_on_one_rank, "values")
    assert "rank 1 differs from rank 0" in first and "seed" in first
    assert second == "", "one rank tells what concerns all"


def what_is_told():
    """Warnings of maps that do not fit the module, and of those that do."""
    mesh = mesh_of(2)
    sizes = {"big": nn.Linear(64, 64), "other": nn.Linear(64, 64, bias=False), "small": nn.LayerNorm(64)}

    def told_of(layouts, **kwargs):
        return told(nn.ModuleDict(copy.deepcopy(sizes)), layouts, mesh=mesh, **kwargs)

    module = nn.ModuleDict(copy.deepcopy(sizes))
    return {
        "misses": told_of({"ig/weight": ("m", None), "nowhere.*": (None,), "other/weight": (None, "m")}),
        "meant": told_of({"big/weight": ("m", None), "other/weight": (None, None)}),
        "tied": told(Net(), weft.LayoutMap(mesh, {"head/weight": ("m", None), r"layers/\d/weight": ("m", None)})),
        "none": told_of(None),
        "made": told(module, weft.layouts.megatron(module, mesh, "m")),
        "one": told(nn.Linear(64, 64), {"weigh": ("x", None)}, mesh=mesh_of(2, "x")),
    }


def test_what_a_map_leaves_out_is_told_once_by_one_rank(ranks2):
    first, second = ranks2(what_is_told)
    assert set(second.values()) == {""}
    assert first["misses"] == (
        "[W047] distribute_module: the layout map does not fit the whole module:\n"
        "2 patterns match no variable:\n"
        "  'ig/weight'; '.*ig/weight' would match 'big/weight'\n"
        "  'nowhere.*'\n"
        "no pattern matches a large variable, which every rank holds whole, 16.0 KiB in all (if that is meant: an "
        "entry with None for each dimension):\n"
        "  big/weight [64, 64]"
    )
    assert "'weigh'; '.*weigh.*' would match 'weight'" in first["one"]
    assert {name: first[name] for name in ("meant", "tied", "none", "made")} == dict.fromkeys(
        ("meant", "tied", "none", "made"), ""
    )


def check_report(size):
    net, layouts = make(size)
    preview = weft.report(net, layouts)
    weft.distribute_module(net, layouts)
    report = weft.report(net)
    assert [r.path for r in report.rows] == [r.path for r in preview.rows]
    rows = {r.path: r for r in report.rows}
    assert rows["layers.0.weight"].pattern == "layers/0/weight" and rows["layers.0.weight"].layout == "(m, None)"
    assert rows["layers.0.weight"].bytes == 256 and rows["layers.0.weight"].bytes_per_rank == 256 // size
    assert rows["norm.weight"].pattern is None
    assert "head.weight" not in rows, "a tied variable is one row"
    assert "layers/0/weight" in str(report) and report.bytes > report.bytes_per_rank or size == 1
    with pytest.raises(ValueError, match="not distributed"):
        weft.report(nn.Linear(2, 2))


def test_report(ranks2):
    check_report(1)
    ranks2(check_report, 2)
