"""What is of a type that was not meant is a ValueError with a code, which says what is needed."""

import re

import pytest
import torch
import weft
from torch import nn
from weft.arguments import folder, needed


def mesh():
    return weft.DeviceMesh((1,), ("m",), device_type="cpu")


def linear():
    return nn.Linear(2, 2)


ENTRIES = {
    "check: model": lambda bad: weft.check(bad, torch.ones(2, 2), weft.LayoutMap(mesh())),
    "check: layouts": lambda bad: weft.check(linear, torch.ones(2, 2), bad),
    "check_finite": weft.check_finite,
    "check_plain": weft.check_plain,
    "check_rule": lambda bad: weft.check_rule("aten::frac", None, bad),
    "compile_graphs": weft.compile_graphs,
    "cost": weft.cost,
    "DeviceMesh: shape": lambda bad: weft.DeviceMesh(bad, ("m",), device_type="cpu"),
    "DeviceMesh: names": lambda bad: weft.DeviceMesh((1,), bad, device_type="cpu"),
    "distribute_module: module": lambda bad: weft.distribute_module(bad, mesh=mesh()),
    "distribute_module: map": lambda bad: weft.distribute_module(linear(), bad, mesh=mesh()),
    "distribute_module: mesh": lambda bad: weft.distribute_module(linear(), {}, mesh=bad),
    "distribute_tensor: tensor": lambda bad: weft.distribute_tensor(bad, (None,), mesh()),
    "distribute_tensor: layout": lambda bad: weft.distribute_tensor(torch.ones(2), bad, mesh()),
    "distribute_tensor: mesh": lambda bad: weft.distribute_tensor(torch.ones(2), ("m",), bad),
    "distribute_variable": lambda bad: weft.distribute_variable(bad, (None,), mesh()),
    "draw": weft.draw,
    "draw: map": lambda bad: weft.draw(linear(), layout_map=bad),
    "explain_error": weft.explain_error,
    "from_local: local": lambda bad: weft.from_local(bad, weft.TensorLayout(("m",), mesh())),
    "from_local: layout": lambda bad: weft.from_local(torch.ones(2), bad),
    "from_local: mesh": lambda bad: weft.from_local(torch.ones(2), ("m",), device_mesh=bad),
    "fsdp: module": lambda bad: weft.layouts.fsdp(bad, mesh(), "m"),
    "fsdp: mesh": lambda bad: weft.layouts.fsdp(linear(), bad, "m"),
    "fsdp: axis": lambda bad: weft.layouts.fsdp(linear(), mesh(), bad),
    "full_tensor": weft.full_tensor,
    "hf.layouts": lambda bad: weft.hf.layouts(bad, mesh()),
    "layout_of": weft.layout_of,
    "LayoutMap: mesh": weft.LayoutMap,
    "LayoutMap: entries": lambda bad: weft.LayoutMap(mesh(), bad),
    "load: folder": lambda bad: weft.load(bad, linear()),
    "local_tensor": weft.local_tensor,
    "overlap: budget": weft.overlap,
    "overlap: keep": lambda bad: weft.overlap(keep=bad),
    "path_of": weft.path_of,
    "plan: mesh": lambda bad: weft.plan(linear, bad, {}, torch.ones(2, 2)),
    "random_mode": weft.random_mode,
    "register_layouts": weft.register_layouts,
    "report: module": lambda bad: weft.report(bad, weft.LayoutMap(mesh())),
    "frozen: on": weft.frozen,
    "report: map": lambda bad: weft.report(linear(), bad),
    "save: folder": lambda bad: weft.save(bad, linear()),
    "save: step": lambda bad: weft.save("nowhere", linear(), step=bad),
    "search: mesh": lambda bad: weft.search(linear, bad, torch.ones(2, 2)),
    "shard_batch: axis": lambda bad: weft.shard_batch(torch.ones(2), mesh(), bad),
    "strict: on": weft.strict,
    "strict: allow": lambda bad: weft.strict(allow=bad),
    "tag": lambda bad: weft.tag(bad, "a"),
    "TensorLayout: axes": lambda bad: weft.TensorLayout(bad, mesh()),
    "TensorLayout: mesh": lambda bad: weft.TensorLayout(("m",), bad),
    "TensorLayout: partial": lambda bad: weft.TensorLayout((None,), mesh(), bad),
    "unfilled_paths": weft.unfilled_paths,
    "warn_relayout": weft.warn_relayout,
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("bad", [object(), 1.5], ids=["object", "float"])
def test_another_type(entry, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if entry.startswith("distribute_") and entry.endswith((": tensor", "variable")) and bad == 1.5:
        bad = "text"  # a number makes a tensor
    with pytest.raises(ValueError, match=r"^\[W\d+\] ") as error:
        ENTRIES[entry](bad)
    assert len(str(error.value)) < 500 and not list(tmp_path.iterdir())


def test_what_is_needed_is_told():
    assert needed(3, int, "f: n") == 3 and folder("a", "f: path") == "a"
    for kinds, words in ((nn.Module, "torch.nn.Module"), ((str, type(None)), "str or None")):
        with pytest.raises(ValueError, match=rf"^\[W038\] f: x must be {re.escape(words)}, not int$"):
            needed(3, kinds, "f: x")
