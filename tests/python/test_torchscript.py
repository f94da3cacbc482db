"""TorchScript: nothing but the library. Scripted functions build meshes and layouts; scripted modules run sharded."""

import copy
import io

import pytest
import torch
import weft
from torch import nn


@torch.jit.script
def distribute(x: torch.Tensor, ranks: int):
    mesh = torch.classes.weft.DeviceMesh([ranks], ["x"])
    layout = torch.classes.weft.TensorLayout(("x", None), device_mesh=mesh)
    sharded = torch.ops.weft.distribute_tensor(x, layout)
    y = torch.relu(sharded @ sharded.t()) + 1
    return y, torch.ops.weft.full_tensor(y), str(layout.__str__())


@torch.jit.script
def use_map(w: torch.Tensor, ranks: int):
    mesh = torch.classes.weft.DeviceMesh([ranks], ["x"], device_type="cpu")
    layouts = torch.classes.weft.LayoutMap(mesh)
    layouts.insert("a/.*", ("x", None))
    layouts.insert("b", (("x",), None))
    assert len(layouts) == 2 and "b" in layouts and layouts.contains("a/.*")
    found = layouts.get("a.w")
    before = torch.ops.weft.register_layouts(layouts)
    tagged = torch.ops.weft.tag(w, "a.w")
    again = torch.classes.weft.LayoutMap.from_json(layouts.to_json(), None, "test")
    torch.ops.weft.register_layouts(before)
    return tagged, torch.ops.weft.path_of(tagged), str(found.__str__()), len(again)


@torch.jit.script
def described(x: torch.Tensor) -> str:
    return torch.ops.weft.describe(x)


def scripted_functions(ranks):
    weft.initialize()
    x = torch.arange(12.0).view(4, 3) - 5
    y, whole, text = distribute(x, ranks)
    assert weft.is_sharded(y) and text == "(x, None)"
    torch.testing.assert_close(whole, torch.relu(x @ x.t()) + 1)
    tagged, path, found, rules = use_map(torch.ones(4, 3), ranks)
    assert weft.layout_of(tagged).axes == ("x", None) and (path, found, rules) == ("a/w", "(x, None)", 2)
    assert weft.active_layouts() is None
    text = described(tagged)
    assert "f32[4@x, 3], mesh (x=" in text and "path='a/w'" in text and described(x).count("-5") == 1


def test_scripted_functions(ranks2):
    scripted_functions(1)
    ranks2(scripted_functions, 2)


def test_classes_take_keywords_and_defaults_in_eager_mode_too():
    mesh = torch.classes.weft.DeviceMesh(shape=[1], axis_names=["x"])
    layout = torch.classes.weft.TensorLayout(axes=("x", None), device_mesh=mesh)
    assert layout.axes() == ("x", None) and layout.id() == torch.classes.weft.TensorLayout(("x", None), mesh).id()
    layouts = torch.classes.weft.LayoutMap(device_mesh=mesh)
    layouts.insert(pattern="a", axes=("x",))
    assert layouts.get("a").axes() == ("x",)
    with pytest.raises(ValueError, match="no entry matches 'zzz'"):
        layouts.get("zzz")


def test_objects_travel_in_saved_modules():
    class Holder(nn.Module):
        def __init__(self, layouts, layout):
            super().__init__()
            self.layouts, self.layout = layouts, layout

        def forward(self, x):
            return torch.ops.weft.distribute_tensor(x, self.layout), str(self.layouts.get("a").__str__())

    mesh = torch.classes.weft.DeviceMesh([1], ["x"])
    layouts = torch.classes.weft.LayoutMap(mesh)
    layouts.insert("a", ("x",))
    holder = torch.jit.script(Holder(layouts, torch.classes.weft.TensorLayout((None, "x"), mesh)))
    file = io.BytesIO()
    torch.jit.save(holder, file)
    file.seek(0)
    y, text = torch.jit.load(file)(torch.ones(2, 2))
    assert weft.layout_of(y).axes == (None, "x") and text == "(x,)"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(6, 8), nn.Linear(8, 6), nn.BatchNorm1d(6)
        self.tied = self.up

    def forward(self, x):
        return self.norm(self.down(torch.relu(self.up(x))) + self.tied(x).sum(-1, keepdim=True))


ENTRIES = {"(up|tied)/kernel": (None, "m"), "down/weight": (None, "m")}


def scripted_module(size, how):
    torch.manual_seed(0)
    plain = Block()
    scripted = torch.jit.script(plain)
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    scripted = torch.jit.load(file)
    mesh = weft.DeviceMesh((size,), ("m",), device_type="cpu")
    layouts = weft.LayoutMap(mesh, ENTRIES)
    if how == "package":
        assert weft.distribute_module(scripted, layouts) is scripted
    else:
        torch.ops.weft.distribute_module(scripted, layouts._object)
    assert weft.layout_of(scripted.up.weight).axes == ("m", None), "kernel is weight, transposed"
    assert weft.layout_of(scripted.norm.running_mean).axes == (None,)
    assert weft.path_of(scripted.down.weight) == "down/weight"
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        for module in (plain, scripted):
            module.zero_grad()
            y = module(x)
            y.square().sum().backward()
    torch.testing.assert_close(weft.full_tensor(y), plain(x), rtol=1e-4, atol=1e-5)
    for (name, p), q in zip(scripted.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weft.full_tensor(p.grad), q.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("how", ["package", "op"])
def test_scripted_module(ranks2, how):
    scripted_module(1, how)
    ranks2(scripted_module, 2, how)


class Recurrent(nn.Module):
    """An LSTM, scripted, keeps its weights in a list, too."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0])


def scripted_with_variables_in_lists(size, how):
    torch.manual_seed(0)
    plain = Recurrent()
    scripted = torch.jit.script(copy.deepcopy(plain))
    layouts = weft.LayoutMap(weft.DeviceMesh((size,), ("m",), device_type="cpu"))
    layouts["cell/weight_.*"] = ("m", None)
    if how == "package":
        weft.distribute_module(scripted, layouts)
    else:
        torch.ops.weft.distribute_module(scripted, layouts._object)
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (plain, scripted)]
    for _ in range(3):
        for module, optimizer in zip((plain, scripted), optimizers, strict=True):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for (name, p), q in zip(scripted.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weft.full_tensor(p.detach()), q.detach(), rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("how", ["package", "op"])
def test_variables_in_lists(ranks2, how):
    scripted_with_variables_in_lists(1, how)
    ranks2(scripted_with_variables_in_lists, 2, how)


def test_op_takes_scripted_modules_only():
    mesh = weft.DeviceMesh((1,), ("m",), device_type="cpu")
    with pytest.raises((ValueError, RuntimeError)):
        torch.ops.weft.distribute_module(Block(), weft.LayoutMap(mesh)._object)
    with pytest.raises(ValueError, match="register_layouts"):
        torch.ops.weft.distribute_module(torch.jit.script(Block()), None)


def test_distributed_module_is_not_saved():
    """Torch's archive holds memory, of which a sharded tensor has none: the error says what to do."""
    mesh = weft.DeviceMesh((1,), ("m",), device_type="cpu")
    scripted = weft.distribute_module(torch.jit.script(Block()), weft.LayoutMap(mesh, ENTRIES))
    with pytest.raises(NotImplementedError, match=r"\[W060\] it has no memory .*weft\.save to save it"):
        torch.jit.save(scripted, io.BytesIO())
