"""DTensors both ways without a copy, and torch's own wrappers refused on sharded modules."""

import itertools

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


def refusals():
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.tensor.parallel import parallelize_module

    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    net = weft.distribute_module(nn.Sequential(nn.Linear(4, 4)), {"0/weight": ("a", None)}, mesh=mesh)
    calls = {
        "DistributedDataParallel": lambda: nn.parallel.DistributedDataParallel(net),
        "FullyShardedDataParallel": lambda: FullyShardedDataParallel(module=net),
        "fully_shard": lambda: fully_shard(net),
        "parallelize_module": lambda: parallelize_module(net, None, {}),
        "from_dtensor": lambda: weft.from_dtensor(torch.ones(2)),
        "to_dtensor": lambda: weft.to_dtensor(torch.ones(2)),
    }
    out = {}
    for name, call in calls.items():
        try:
            call()
        except ValueError as e:
            out[name] = str(e)
    plain = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    plain(torch.ones(1, 2)).sum().backward()
    return out


def test_wrappers_are_refused(ranks2):
    for found in ranks2(refusals):
        for name in ("DistributedDataParallel", "FullyShardedDataParallel", "fully_shard", "parallelize_module"):
            assert found[name].startswith(f"{name}: the module is sharded already (0.weight); ")
            assert "weft." in found[name]
        assert "a DTensor is needed" in found["from_dtensor"] and found["to_dtensor"]
