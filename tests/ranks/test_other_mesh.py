"""A tensor that lies on one mesh is laid out over another one of the same ranks, and gradients find their way back."""

import copy
import itertools

import pytest
import torch
import weft
from support.ranks import RankPool
from torch import nn


def meshes() -> tuple[weft.DeviceMesh, weft.DeviceMesh]:
    return weft.DeviceMesh((2, 2), ("a", "b"), device_type="cpu"), weft.DeviceMesh((4,), ("x",), device_type="cpu")


def values() -> None:
    square, line = meshes()
    x = torch.arange(35.0).view(5, 7)
    for axes, to in itertools.product(
        [("a", "b"), (("a", "b"), None), (None, None), (None, "b")], [("x", None), (None, "x"), (None, None)]
    ):
        there = weft.distribute_tensor(x, axes, square)
        torch.ops.weft.set_path(there, "some/path")
        back = there
        for mesh, layout in ((line, to), (square, axes)):
            back = weft.distribute_tensor(back, layout, mesh)
            assert weft.layout_of(back).device_mesh == mesh and torch.ops.weft.path_of(back) == "some/path"
            assert torch.equal(weft.full_tensor(back), x), (axes, to)
        back.zero_()
        assert torch.equal(weft.full_tensor(there), x), "they share no memory"
    total = weft.distribute_tensor(x, ("a", "b"), square).sum()  # a pending sum
    assert weft.full_tensor(weft.distribute_tensor(total, (), line)) == x.sum()


def gradients() -> None:
    square, line = meshes()
    torch.manual_seed(0)
    teacher, student, x = nn.Linear(6, 8), nn.Linear(6, 8), torch.randn(4, 6)
    plain = [(p.clone().detach().requires_grad_()) for p in (teacher.weight, student.weight)]
    (x @ plain[0].T - x @ plain[1].T + teacher.bias - student.bias).square().mean().backward()
    weft.distribute_module(teacher, {"weight": ("a", "b")}, mesh=square)
    weft.distribute_module(student, {"weight": (None, "x")}, mesh=line)
    aim = teacher(x)
    out = student(x)
    with pytest.raises(ValueError, match=r"\[W031\].*bring them to one with weft.distribute_tensor"):
        aim - out
    loss = (weft.distribute_tensor(aim, (None, "x"), line) - out).square().mean()
    loss.backward()
    for p, expected in zip((teacher.weight, student.weight), plain, strict=True):
        torch.testing.assert_close(weft.full_tensor(p.grad), expected.grad)
    assert weft.layout_of(teacher.weight.grad) == weft.layout_of(teacher.weight)


def penalty(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    (g,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (x.sum() + g.square().sum()).backward()
    return weft.full_tensor(x.grad).flatten().tolist()


def gradients_of_gradients() -> None:
    square, line = meshes()
    value = torch.arange(8.0).view(4, 2) / 7
    plain = value.clone().requires_grad_()
    expected = penalty(plain, plain * 1)
    for mesh, axes in ((square, ("a", None)), (line, ("x", None)), (line, (None, None))):
        x = weft.distribute_tensor(value, (None, "x"), line).requires_grad_()
        assert penalty(x, weft.distribute_tensor(x, axes, mesh)) == pytest.approx(expected)
        x = value.clone().requires_grad_()
        assert penalty(x, weft.distribute_tensor(x, axes, mesh)) == pytest.approx(expected)


def module_again() -> None:
    square, line = meshes()
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(3, 6)
    expected, before = net(x).detach(), list(net.parameters())
    weft.distribute_module(net, {"./weight": ("a", "b")}, mesh=square)
    weft.distribute_module(net, {"./weight": (None, "x")}, mesh=line)
    assert all(p is q for p, q in zip(net.parameters(), before, strict=True))
    assert all(weft.layout_of(p).device_mesh == line for p in net.parameters())
    torch.testing.assert_close(weft.full_tensor(net(x)), expected)


def optimizer_again(folder: str) -> None:
    square, line = meshes()
    torch.manual_seed(0)
    net, x = nn.Linear(6, 8), torch.randn(3, 6)
    plain = copy.deepcopy(net)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    expected = torch.optim.Adam(plain.parameters(), lr=0.1)
    weft.distribute_module(net, {"weight": ("a", "b")}, mesh=square)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    step(net, optimizer)
    weft.save(folder, net, optimizer)
    optimizer.zero_grad()
    weft.distribute_module(net, {"weight": (None, "x")}, mesh=line)
    weft.load(folder, net, optimizer)
    step(net, optimizer)
    for _ in range(2):
        step(plain, expected)
    torch.testing.assert_close(weft.full_tensor(net.weight), plain.weight)


@pytest.mark.parametrize("case", [values, gradients, gradients_of_gradients, module_again])
def test_to_another_mesh(ranks4: RankPool, case) -> None:
    ranks4(case, timeout=100)


def test_optimizer_after_its_module(ranks4: RankPool, tmp_path) -> None:
    ranks4(optimizer_again, str(tmp_path / "checkpoint"), timeout=100)
