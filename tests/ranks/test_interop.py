"""DTensors both ways without a copy, and torch's own wrappers refused on sharded modules."""

import itertools

import pytest
import torch
import weft
from torch import nn


def both_ways():
    """What differs, over all placements of a matrix on a mesh of two axes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    theirs = init_device_mesh("cpu", (weft.world_size() // 2 or 1, 2), mesh_dim_names=("a", "b"))
    x, wrong = torch.arange(35.0).reshape(7, 5), []
    for placements in itertools.product((Shard(0), Shard(1), Replicate()), repeat=2):
        d = distribute_tensor(x, theirs, placements).requires_grad_()
        s = weft.from_dtensor(d)
        back = weft.to_dtensor(s)
        same = torch.equal(weft.full_tensor(s.detach()), x) and torch.equal(back.full_tensor(), x)
        shared = {
            t.untyped_storage().data_ptr() for t in (d.to_local(), weft.local_tensor(s.detach()), back.to_local())
        }
        if not (same and len(shared) == 1 and back.placements == placements and s.requires_grad and back.requires_grad):
            wrong.append((placements, same, shared, back.placements))
    return wrong


def test_dtensors_both_ways(ranks2, ranks4):
    assert ranks2(both_ways) == [[]] * 2
    assert ranks4(both_ways) == [[]] * 4


LAYOUTS = [("a", "b"), ("b", None), (None, ("a", "b")), (None, None), (("b", "a"), None)]


def dtensor(x, mesh, placements):
    """A DTensor of `x`, of whose pending sums each rank has another part."""
    from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

    local = distribute_tensor(x, mesh, [Replicate() if p.is_partial() else p for p in placements]).to_local().clone()
    for p, at, size in zip(placements, mesh.get_coordinate(), mesh.shape, strict=True):
        if p.is_partial():
            local *= -1 if at else size  # which sum to one
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=x.shape, stride=x.stride())


def laid_out():
    """DTensors of all placements to some layouts: what differs of value, gradient, memory and of the variables."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Partial, Replicate, Shard

    shape = (weft.world_size() // 2 or 1, 2) if weft.world_size() != 3 else (1, 3)
    theirs = init_device_mesh("cpu", shape, mesh_dim_names=("x", "y"))  # the axes' names need not be the same
    mesh = weft.DeviceMesh(shape, ("a", "b"), device_type="cpu")
    x, weights, wrong = torch.arange(35.0).reshape(7, 5), torch.linspace(-1, 1, 35).reshape(7, 5), []
    for placements in itertools.product((Shard(0), Shard(1), Replicate(), Partial()), repeat=2):
        for axes in LAYOUTS:
            d = dtensor(x, theirs, placements).requires_grad_()
            layout = weft.TensorLayout(axes, mesh)
            out = weft.distribute_tensor(d, layout)
            (out * weights).sum().backward()
            grad = d.grad.full_tensor() if not any(p.is_partial() for p in placements) else weights
            local = weft.local_tensor(out.detach())
            fits = weft.TensorLayout.from_placements(placements, mesh, 2) == layout
            shares = local.numel() and local.data_ptr() == d.to_local().data_ptr()
            variable = weft.distribute_variable(nn.Parameter(d.detach()), layout)
            if not (
                torch.equal(weft.full_tensor(out.detach()), x)
                and weft.layout_of(out) == weft.layout_of(variable) == layout
                and torch.allclose(grad, weights)
                and (shares or not fits or not local.numel())
                and torch.equal(weft.full_tensor(variable.detach()), x)
                and isinstance(variable, nn.Parameter)
                and variable.is_leaf
            ):
                wrong.append((placements, axes, shares, fits, grad, weft.full_tensor(out.detach())))
    return wrong


@pytest.mark.parametrize("world", [2, 3, 4])
def test_dtensors_are_laid_out(request, world):
    assert request.getfixturevalue(f"ranks{world}")(laid_out) == [[]] * world


class Hollow(torch.Tensor):
    """Has no memory, as subclasses that keep their values in other tensors."""

    @staticmethod
    def __new__(cls, *size):
        return torch.Tensor._make_wrapper_subclass(cls, size)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:  # of nn.Parameter
            return Hollow(*args[0].shape)
        raise RuntimeError(f"{func} is not to be called")


def not_laid_out():
    """What is said of DTensors and their like where they cannot be laid out, and the way out that an error names."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor

    theirs, other = init_device_mesh("cpu", (2,)), init_device_mesh("cpu", (1, 2))
    mesh = weft.DeviceMesh((2,), ("a",), device_type="cpu")
    rows = weft.TensorLayout(("a", None), mesh)

    def split(_, owner, device_mesh):
        for name, p in list(owner.named_parameters(recurse=False)):
            owner.register_parameter(name, nn.Parameter(distribute_tensor(p, device_mesh, [Shard(0)])))

    torch.manual_seed(0)
    net = distribute_module(nn.Sequential(nn.Linear(4, 5)), theirs, split)
    ours = weft.distribute_module(nn.Sequential(nn.Linear(4, 5)), {"0/weight": (None, "a")}, mesh=mesh)
    hollow = nn.Module()
    hollow.weight = nn.Parameter(Hollow(3, 2))
    d = distribute_tensor(torch.ones(3, 2), other, [Shard(0), Shard(1)])
    calls = {
        "mesh": lambda: weft.distribute_tensor(d, rows),
        "variable": lambda: weft.distribute_variable(d, rows),
        "from_dtensor": lambda: weft.from_dtensor(d, mesh),
        "from_local": lambda: weft.from_local(d, rows),
        "module": lambda: weft.distribute_module(net, {"0/weight": ("a", None)}, mesh=mesh),
        "hollow": lambda: weft.distribute_tensor(Hollow(3, 2), rows),
        "hollow variable": lambda: weft.distribute_variable(Hollow(3, 2), rows),
        "hollow module": lambda: weft.distribute_module(hollow, mesh=mesh),
        "data": lambda: setattr(ours[0].weight, "data", Hollow(5, 4)),
    }
    out = {}
    for name, call in calls.items():
        try:
            out[name] = f"not refused: {call()}"
        except Exception as e:
            out[name] = f"{type(e).__name__}: {e}"
    ours.load_state_dict({k: weft.from_dtensor(v, mesh) for k, v in net.state_dict().items()})
    same = all(
        torch.equal(weft.full_tensor(p.detach()), q.full_tensor())
        for p, q in zip(ours.parameters(), net.parameters(), strict=True)
    )
    return out, same


def test_what_cannot_be_laid_out_is_named(ranks2):
    first, second = ranks2(not_laid_out)
    assert first == second and first[1], first
    words = {
        "mesh": "ValueError: [W031] distribute_tensor: the DTensor lies on DeviceMesh(",
        "variable": "ValueError: [W031] distribute_variable: the DTensor lies on DeviceMesh(",
        "from_dtensor": "ValueError: [W031] from_dtensor: the DTensor lies on DeviceMesh(",
        "from_local": "ValueError: [W035] from_local: the part is a DTensor; pass its to_local()",
        "module": "ValueError: [W053] distribute_module: 0.weight and 1 others is a DTensor (Shard(dim=0),)",
        "hollow": "ValueError: [W057] distribute_tensor: the tensor is of a subclass that has no memory of its own",
        "hollow variable": "ValueError: [W057] distribute_variable: the tensor is of a subclass that has no memory",
        "hollow module": "ValueError: [W057] distribute_module: 'weight': the tensor is of a subclass that",
    }
    for name, text in words.items():
        assert first[0][name].startswith(text), (name, first[0][name])
    assert not first[0]["data"].startswith("not refused")


def refusals():
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.distributed.tensor.parallel import parallelize_module

    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    net = weft.distribute_module(nn.Sequential(nn.Linear(4, 4)), {"0/weight": ("a", None)}, mesh=mesh)
    calls = {
        "DistributedDataParallel": lambda: nn.parallel.DistributedDataParallel(net),
        "DataParallel": lambda: nn.DataParallel(net),
        "data_parallel": lambda: nn.parallel.data_parallel(net, torch.ones(2, 4)),
        "FullyShardedDataParallel": lambda: FullyShardedDataParallel(module=net),
        "fully_shard": lambda: fully_shard(net),
        "parallelize_module": lambda: parallelize_module(net, None, {}),
        "ZeroRedundancyOptimizer": lambda: ZeroRedundancyOptimizer(net.parameters(), torch.optim.SGD, lr=0.1),
        "ZeroRedundancyOptimizer of groups": lambda: ZeroRedundancyOptimizer(
            optimizer_class=torch.optim.SGD, params=[{"params": [net[0].weight]}], lr=0.1
        ),
        "from_dtensor": lambda: weft.from_dtensor(torch.ones(2)),
        "to_dtensor": lambda: weft.to_dtensor(torch.ones(2)),
    }
    out = {}
    for name, call in calls.items():
        try:
            call()
        except ValueError as e:
            out[name] = str(e)
    assert nn.DataParallel(nn.Linear(2, 2))(torch.ones(1, 2)).shape == (1, 2)
    plain = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    plain(torch.ones(1, 2)).sum().backward()
    before = plain.module.bias.detach().clone()
    ZeroRedundancyOptimizer(plain.parameters(), torch.optim.SGD, lr=0.1).step()
    assert torch.allclose(plain.module.bias, before - 0.1)
    return out


def test_wrappers_are_refused(ranks2):
    for found in ranks2(refusals):
        ways = ("DistributedDataParallel", "FullyShardedDataParallel", "fully_shard", "parallelize_module")
        for name in (*ways, "DataParallel", "data_parallel"):
            assert found[name].startswith(f"[W053] {name}: the module is sharded already (0.weight); ")
            assert "weft." in found[name]
        for name in ("ZeroRedundancyOptimizer", "ZeroRedundancyOptimizer of groups"):
            assert found[name].startswith("[W053] ZeroRedundancyOptimizer: the module is sharded already (0/weight); ")
            assert "take the optimizer itself" in found[name]
        assert "a DTensor is needed" in found["from_dtensor"] and found["to_dtensor"]


def synchronized() -> list[float]:
    """SyncBatchNorm, whose batch is the whole one already, beside a batch norm: how far apart they are."""
    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    x = torch.randn(7, 4, 3)
    out = []
    for layouts, split in (
        ({}, True),
        ({"1/(weight|bias|running_mean|running_var)": ("a",)}, True),
        ({"1/weight": ("a",)}, False),
    ):
        nets = [nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)) for _ in range(2)]
        nets[1].load_state_dict(nets[0].state_dict())
        ours = weft.distribute_module(nn.SyncBatchNorm.convert_sync_batchnorm(nets[0]), layouts, mesh=mesh)
        assert isinstance(ours[1], nn.SyncBatchNorm)
        for net, batch in ((ours, weft.shard_batch(x, mesh, "a") if split else x), (nets[1], x)):
            for _ in range(2):
                net(batch).square().sum().backward()
        kept = [weft.full_tensor(t.detach()) for t in (*ours.parameters(), *ours.buffers())]
        kept += [weft.full_tensor(p.grad) for p in ours.parameters()]
        want = [*nets[1].parameters(), *nets[1].buffers(), *(p.grad for p in nets[1].parameters())]
        out += [(a - b).abs().max().item() for a, b in zip(kept, want, strict=True)]
    try:
        nn.SyncBatchNorm(4)(x)
    except ValueError as e:
        assert "GPU" in str(e), e  # core's own, of plain tensors
    return out


@pytest.mark.parametrize("world", [2, 3])
def test_synchronized_batch_norms(world, request):
    for found in request.getfixturevalue(f"ranks{world}")(synchronized):
        assert len(found) > 30 and max(found) < 1e-4, found
