"""Meshes without processes."""

import json

import pytest
import torch
import weft
from torch._subclasses.fake_tensor import FakeTensorMode


def mesh_of(rank=0, **axes):
    axes = axes or {"data": 2, "model": 4}
    return weft.DeviceMesh(tuple(axes.values()), tuple(axes), device_type="cpu", simulate=rank)


def test_another_mesh_than_the_real_one():
    real = weft.DeviceMesh((2, 4), ("data", "model"), device_type="cpu")
    assert mesh_of(3).simulated_rank == 3
    assert real.simulated_rank is None
    assert len({real, mesh_of(0), mesh_of(3), mesh_of(3)}) == 3
    assert mesh_of(6).coordinates == {"data": 1, "model": 2}


@pytest.mark.parametrize("rank", [-1, 8])
def test_no_such_rank(rank):
    with pytest.raises(ValueError, match="simulate"):
        mesh_of(rank)


@pytest.mark.parametrize(("rank", "rows"), [(0, 3), (2, 3), (3, 0)])
def test_parts_have_this_ranks_shape_and_no_memory(rank, rows):
    x = weft.distribute_tensor(torch.randn(9, 5), ("model", None), mesh_of(rank, model=4))
    local = weft.local_tensor(x)
    assert local.is_meta
    assert tuple(local.shape) == (rows, 5)
    assert x.device == torch.device("cpu")
    assert tuple(x.shape) == (9, 5)


def test_ops_are_planned_and_their_collectives_counted():
    mesh = mesh_of()
    x = weft.distribute_tensor(torch.randn(8, 6), ("data", "model"), mesh)
    w = weft.distribute_tensor(torch.randn(6, 12), ("model", None), mesh)
    with weft.trace() as trace:
        out = torch.relu(x @ w) + torch.ones(12)
    assert tuple(out.shape) == (8, 12)
    assert [(row.kind, row.axis, row.bytes) for row in trace.rows] == [("all_reduce", "model", 2 * 3 * 4 * 12 * 4 // 4)]


def test_fake_tensors_are_laid_out():
    with FakeTensorMode():
        fake = torch.randn(8, 6)
    x = weft.distribute_tensor(fake, ("model", None), mesh_of())
    assert tuple(weft.local_tensor(x).shape) == (2, 6)
    part = weft.from_local(fake, weft.TensorLayout(("model", None), mesh_of()))
    assert tuple(part.shape) == (32, 6)


def test_values_are_nowhere():
    x = weft.distribute_tensor(torch.ones(4), ("model",), mesh_of())
    with pytest.raises((RuntimeError, NotImplementedError)):
        x.sum().item()


def test_devices_named_by_the_program():
    x = weft.distribute_tensor(torch.ones(4, 4), ("model", None), mesh_of())
    assert weft.is_sharded(x.to("cpu", torch.float64))
    assert torch.zeros_like(x, device="cpu").device == torch.device("cpu")
    assert weft.local_tensor(x.new_zeros(8, device="cpu")).is_meta


def test_plan_of_many_ranks():
    net = lambda: torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 512))  # noqa: E731
    layouts = {"0/weight": ("model", "data"), "2/weight": ("data", "model")}
    planned = weft.plan(
        net, {"data": 64, "model": 64}, layouts, torch.zeros(64, 512), optimizer=torch.optim.AdamW, rank=4095
    )
    weights = {v.path: v.weight for v in planned.variables}
    assert weights["0/weight"] == 2048 * 512 * 4 // 4096
    assert planned.peak < 40 << 20
    assert planned.kinds["optimizer"] >= planned.kinds["weights"]
    found = json.loads(planned.json())
    assert found["sent"] == planned.trace.total_bytes > 0
    assert "mesh (data=64, model=64), rank 4095" in str(planned)
    assert "0/weight" in str(planned)


def test_gathers_and_notes_of_a_plan():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(6, 7))

        def forward(self, x):
            return torch.renorm(self.weight @ x, 2, 0, 1.0)

    planned = weft.plan(Odd, {"model": 4}, {"weight": ("model", None)}, torch.ones(7, 6))
    assert [note.kind for note in planned.notes] == ["uneven"]
    (gathered,) = (g for g in planned.gathers if g.op == "renorm")
    assert (gathered.calls, gathered.bytes) == (1, 6 * 6 * 4)


def test_wrong_arguments_of_a_plan():
    with pytest.raises(ValueError, match="function that makes the model"):
        weft.plan(torch.nn.Linear(2, 2), {"data": 2}, {}, torch.ones(2, 2))
    with pytest.raises(ValueError, match="how many ranks each axis has"):
        weft.plan(lambda: torch.nn.Linear(2, 2), (2, 2), {}, torch.ones(2, 2))
    with pytest.raises(ValueError, match="LayoutMap over that mesh"):
        real = weft.LayoutMap(weft.DeviceMesh((2,), ("data",), device_type="cpu"))
        weft.plan(lambda: torch.nn.Linear(2, 2), {"data": 2}, lambda model, mesh: real, torch.ones(2, 2))
