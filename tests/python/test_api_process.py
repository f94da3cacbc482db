"""initialize, devices, batches: what each process does before a model runs."""

import collections
import dataclasses
import os

import pytest
import torch
import torch.distributed as dist
import weft
from support.environment import NAMES, adopt
from support.ranks import run_programs, run_ranks


@pytest.fixture
def no_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_alone(no_environment):
    weft.initialize()
    assert (weft.rank(), weft.world_size()) == (0, 1)
    assert weft.list_devices("cpu") == ["cpu:0"] and weft.get_device_count("cpu") == 1
    assert weft.list_devices("tpu") == [] and weft.get_device_count("TPU") == 0
    assert weft.get_device_count() == len(weft.list_devices()) >= 1
    with pytest.raises(ValueError, match="'abacus'.*cpu, gpu, tpu"):
        weft.list_devices("abacus")
    if not torch.cuda.is_available():
        assert weft.list_devices("gpu") == []


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"RANK": "0"}, {}, "RANK is set"),
        ({"WORLD_SIZE": "2"}, {}, "WORLD_SIZE is 2.*RANK"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, {}, "MASTER_ADDR"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost"}, {}, "MASTER_PORT is not set"),
        ({"WORLD_SIZE": "two", "RANK": "1"}, {}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, {}, "RANK is 2.*last one is 1"),
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, {}, "KERAS_DISTRIBUTION_NUM_PROCESSES is 2"),
        ({}, {"num_processes": 2, "process_id": 0, "job_addresses": "nowhere"}, "'nowhere'.*host:port"),
        ({}, {"num_processes": 2, "process_id": 5, "job_addresses": "a:1"}, "process_id is 5"),
        ({}, {"job_addresses": "a:1"}, "job_addresses is set"),
        ({}, {"num_processes": 3, "process_id": 0, "job_addresses": "a:1,b:2"}, "2 addresses for 3"),
    ],
)
def test_half_set_or_wrong_is_named_before_any_socket(no_environment, environment, arguments, words):
    for name, value in environment.items():
        no_environment.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        weft.initialize(**arguments)
    assert not dist.is_initialized()


def from_torchrun():
    torch.manual_seed(100 + int(os.environ["RANK"]))
    torch.rand(3)
    weft.initialize()
    weft.initialize()
    return (
        weft.rank(),
        weft.world_size(),
        weft.list_devices("cpu"),
        dist.get_backend(),
        torch.rand(2),
        torch.initial_seed(),
    )


def test_initialize_from_torchruns_variables_makes_the_seed_the_same():
    torch.manual_seed(100)
    torch.rand(3)
    expected = torch.rand(2)
    for r, (rank, size, devices, backend, drawn, seed) in enumerate(run_ranks(2, from_torchrun, init=False)):
        assert (rank, size, devices) == (r, 2, ["cpu:0", "cpu:1"])
        assert backend == "gloo" or torch.cuda.is_available()
        assert torch.equal(drawn, expected) and seed == 100


class JoinedError(Exception):
    """Raised in place of joining a group."""


@pytest.mark.parametrize(("gpus", "bound"), [(4, torch.device("cuda", 1)), (1, None), (0, None)])
def test_each_process_is_bound_to_a_gpu_of_its_own(no_environment, gpus, bound):
    taken, asked = [0], {}

    def join(backend, **arguments):
        asked.update(arguments, backend=backend)
        raise JoinedError

    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
        no_environment.setenv(name, str(value))
    no_environment.setenv("MASTER_ADDR", "localhost")
    no_environment.setenv("MASTER_PORT", "1")
    no_environment.setattr(dist, "init_process_group", join)
    no_environment.setattr(dist, "is_nccl_available", lambda: True)
    no_environment.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    no_environment.setattr(torch.cuda, "device_count", lambda: gpus)
    no_environment.setattr(torch.cuda, "set_device", taken.append)
    no_environment.setattr(torch.cuda, "current_device", lambda: taken[-1])
    with pytest.raises(JoinedError):
        weft.initialize()
    assert asked.get("device_id") == bound
    assert asked["backend"] == ("cpu:gloo,cuda:nccl" if bound else "gloo")


def from_keras_variables():
    rank, port = os.environ.pop("RANK"), os.environ.pop("MASTER_PORT")
    for name in ("MASTER_ADDR", "WORLD_SIZE"):
        del os.environ[name]
    os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"] = "2"
    weft.initialize(job_addresses=f"127.0.0.1:{port}", process_id=int(rank))
    x = weft.distribute_tensor(torch.arange(4.0), ("x",), weft.DeviceMesh((2,), ("x",), device_type="cpu"))
    return weft.rank(), x.sum().item()


def test_initialize_from_keras_variables_and_arguments():
    assert run_ranks(2, from_keras_variables, init=False) == [(0, 6.0), (1, 6.0)]


def test_an_existing_group_is_adopted(ranks2):
    for rank, (size, message, coordinates, total) in enumerate(ranks2(adopt)):
        assert size == 2 and total == 3.0 and coordinates == {"x": rank}
        assert "num_processes is 7" in message and f"rank {rank} of 2" in message


def from_torch_mesh():
    from torch.distributed.device_mesh import init_device_mesh

    mesh = weft.DeviceMesh.from_torch(init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b")))
    x = weft.distribute_tensor(torch.arange(16.0).view(4, 4), (("a", "b"), None), mesh)
    return mesh.axis_names, mesh.shape, x.sum(0)[1].item(), mesh.coordinates


def test_mesh_of_torch(ranks4):
    for rank, result in enumerate(ranks4(from_torch_mesh)):
        assert result == (("a", "b"), (2, 2), 28.0, {"a": rank // 2, "b": rank % 2})


def wrong_calls():
    """Each mistake on every rank, and one made on rank 1 alone: the message on each rank."""
    two, eight = (weft.DeviceMesh((n,), ("x",), device_type="cpu") for n in (2, 8))
    other = weft.DeviceMesh((1, 2), ("y", "x"), device_type="cpu")
    x = weft.distribute_tensor(torch.ones(4, 4), ("x", None), two)
    calls = {
        "rank": lambda: weft.distribute_tensor(torch.ones(4), ("x", None), two),
        "mesh": lambda: weft.distribute_tensor(torch.ones(4), ("x",), eight),
        "two meshes": lambda: x + weft.distribute_tensor(torch.ones(4, 4), ("x", None), other),
        "to a mesh of others": lambda: weft.distribute_tensor(x, ("x", None), eight),
        "shape": lambda: weft.distribute_tensor(torch.ones(4, 4 + weft.rank()), ("x", None), two),
        "dims on one rank": lambda: weft.distribute_tensor(torch.ones([4] * (1 + weft.rank())), ("x",), two),
        "dtype": lambda: weft.distribute_tensor(torch.ones(4, dtype=[torch.int, torch.long][weft.rank()]), ("x",), two),
        "layout": lambda: weft.distribute_tensor(torch.ones(4, 4), [("x", None), (None, "x")][weft.rank()], two),
        "parts": lambda: weft.from_local(torch.ones(2, 3 + weft.rank()), ("x", None), None, two),
        "sizes": lambda: weft.from_local(torch.ones(1 + 2 * weft.rank(), 3), ("x", None), None, two),
        "part": lambda: weft.from_local(torch.ones(3, 3), ("x", None), (4, 3), two),
        "axes alone": lambda: weft.distribute_tensor(torch.ones(4), ("x",)),
        "layout of plain": lambda: weft.layout_of(torch.ones(4)),
    }
    messages = {}
    for name, call in calls.items():
        try:
            call()
            messages[name] = ""
        except ValueError as e:
            messages[name] = str(e)
    assert weft.full_tensor(x).sum() == 16.0
    return messages


def test_bad_input_is_the_same_error_on_every_rank(ranks2):
    words = {
        "rank": "layout (x, None) on mesh (x=2) is for 2 dimensions, the tensor has 1",
        "mesh": "8 ranks, but the world has 2",
        "two meshes": "operands lie on two meshes",
        "to a mesh of others": "8 ranks, but the world has 2",
        "shape": "rank 1 differs from rank 0",
        "dims on one rank": "rank 1 differs from rank 0",
        "dtype": "rank 1 differs from rank 0",
        "layout": "rank 1 differs from rank 0",
        "parts": "sizes of dimensions that are not split",
        "sizes": "the parts do not make up a whole of shape [4, 3]",
        "part": "do not make up a whole of shape [4, 3] laid out as (x, None)",
        "axes alone": "pass a weft.TensorLayout, or the mesh as well",
        "layout of plain": "plain tensor has no layout",
    }
    one, two = ranks2(wrong_calls)
    for name, word in words.items():
        assert word in one[name], (name, one[name])
        assert one[name] == two[name]


Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Sample:
    tokens: torch.Tensor
    weight: float = 1.0


def batches():
    mesh = weft.DeviceMesh((2,), ("data",), device_type="cpu")
    x = torch.arange(12.0).view(4, 3)
    batch = collections.UserDict(x=x, pair=Pair(x, [x, "text"]), sample=Sample(x), scalar=torch.tensor(3.0), n=2)
    out = weft.shard_batch(batch, mesh, "data")
    assert isinstance(out, collections.UserDict) and batch["x"] is x
    assert weft.layout_of(out["x"]).axes == ("data", None)
    assert isinstance(out["pair"], Pair) and out["pair"].right[1] == "text" and out["n"] == 2
    assert weft.is_sharded(out["sample"].tokens) and out["sample"].weight == 1.0
    assert not weft.is_sharded(out["scalar"])
    assert weft.layout_of(weft.shard_batch(x, mesh, "data", dim=-1)).axes == (None, "data")
    assert torch.equal(weft.full_tensor(out["pair"].left), x)
    loaded = torch.full((2, 3), float(weft.rank()))
    whole = weft.from_local(loaded, ("data", None), device_mesh=mesh)
    assert whole.shape == (4, 3) and weft.full_tensor(whole)[:, 0].tolist() == [0, 0, 1, 1]
    loaded.fill_(7)
    assert weft.full_tensor(whole).eq(7).all(), "the parts' memory is shared"
    return True


def test_batches(ranks2):
    assert ranks2(batches) == [True, True]


SCRIPT = """
import torch
torch.ops.load_library({library!r})
weft = torch.ops.weft
weft.initialize()
mesh = torch.classes.weft.DeviceMesh([2], ["x"])
x = weft.distribute_tensor(torch.arange(6.0).view(2, 3), torch.classes.weft.TensorLayout(("x", None), mesh))
print(weft.rank(), weft.world_size(), (x @ x.t()).sum().item(), torch.distributed.is_initialized())
"""


def test_a_world_without_a_group_of_pythons(tmp_path):
    import sys

    script = tmp_path / "program.py"
    script.write_text(SCRIPT.format(library=str(weft.library_path())))
    assert run_programs(2, [sys.executable, str(script)], timeout=120) == [
        "0 2 83.0 False\n",
        "1 2 83.0 False\n",
    ]
