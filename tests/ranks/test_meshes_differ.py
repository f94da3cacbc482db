"""Ranks that make different meshes find out where they make them: one error, on all ranks, and they work on."""

import os
import pickle
import time

import pytest
import torch
import torch.distributed as dist
import weft
from support.ranks import run_ranks


def pick(a, b):
    return b if weft.rank() == 1 else a


def error_of(call):
    start = time.monotonic()
    try:
        call()
    except Exception as e:
        return f"{type(e).__name__}: {e}", time.monotonic() - start
    return "", time.monotonic() - start


def works(mesh):
    x = weft.distribute_tensor(torch.arange(6.0), mesh.axis_names[:1], mesh)
    return weft.full_tensor(x.sum()).item() == 15.0


# The arguments on rank 0 and on rank 1, and what the error names them by. Each mesh is new there.
DIFFERENT = {
    "shape": (
        (((2, 1), "ab"), ((1, 2), "ab")),
        ("mesh (a=2, b=1) on cpu on rank 0", "mesh (a=1, b=2) on cpu on rank 1"),
    ),
    "names": ((((2,), "c"), ((2,), "d")), ("mesh (c=2) on cpu on rank 0", "mesh (d=2) on cpu on rank 1")),
    "order of the axes": ((((2, 1), "ef"), ((2, 1), "fe")), ("mesh (e=2, f=1) on", "mesh (f=2, e=1) on")),
    "number of axes": ((((2,), "g"), ((2, 1), "gh")), ("mesh (g=2) on", "mesh (g=2, h=1) on")),
    "ranks": ((((2,), "i", [0, 1]), ((2,), "i", [1, 0])), ("mesh (i=2) on cpu", "mesh (i=2) of ranks 1, 0 on cpu")),
    "device type": ((((2,), "j", None, "cpu"), ((2,), "j", None, "cuda")), ("(j=2) on cpu", "(j=2) on cuda on rank 1")),
    "size": ((((2,), "k"), ((4,), "k")), ("mesh (k=2) on", "mesh (k=4) on")),
    "long names": ((((2,), ["l" * 128]), ((2,), ["mm"])), ("mesh (" + "l" * 128, "mesh (mm=2)")),
    "one fails": ((((2,), "n"), ((2,), "no")), ("rank 1 differs from rank 0",)),
    "one fails in Python": ((((2,), "p"), ((2,), "\ud800")), ("rank 1 differs from rank 0",)),
    "a device fails": ((((2,), "q"), ((2,), "q", ["x"])), ("rank 1 differs from rank 0",)),
}


def make(shape, names, devices=None, device_type="cpu"):
    return weft.DeviceMesh(shape, list(names), devices, device_type)


def different():
    found = {}
    for name, ((mine, theirs), _) in DIFFERENT.items():
        text, took = error_of(lambda mine=mine, theirs=theirs: make(*pick(mine, theirs)))
        found[name] = text, took, works(make(*mine))
    return found


def test_different_meshes():
    one, two = run_ranks(2, different)
    for name, (_, words) in DIFFERENT.items():
        for text, took, worked in (one[name], two[name]):
            assert text == one[name][0] and "ValueError: [W090] the device mesh must be the same" in text, (name, text)
            assert all(word in text for word in words), (name, text)
            assert took < 5 and worked, (name, took)


def of_four():
    rank = weft.rank()
    shape = ((4, 1), (2, 2), (2, 2), (1, 4))[rank]
    found = (
        error_of(lambda: make(shape, "ab"))[0],
        error_of(lambda: torch.classes.weft.DeviceMesh(shape, ["c", "d"]))[0],
    )
    return *found, works(make((2, 2), "ab"))


def test_different_meshes_of_four():
    results = run_ranks(4, of_four)
    for python, script, worked in results:
        assert worked and (python, script) == results[0][:2]
        assert "(a=4, b=1) on cpu on rank 0, mesh (a=2, b=2) on cpu on ranks 1, 2, mesh (a=1, b=4)" in python
        assert "ranks 0, 3 differ from ranks 1, 2" in python and "mesh (c=2, d=2) on cpu on ranks 1, 2" in script


def costs():
    counts = []
    mesh = None
    for _ in range(3):
        with weft.trace() as trace:
            mesh = make((2,), ["costs"])
        counts.append(trace.count())
    with weft.trace() as trace:
        pickle.loads(pickle.dumps(mesh))
        weft.LayoutMap.from_json(weft.LayoutMap(mesh).to_json())
        if weft.rank() == 0:  # one rank alone may still look at what it has
            make((2,), ["costs"])
        assert mesh.coordinates == {"costs": weft.rank()}
    return counts, trace.count()


def test_a_mesh_costs_one_collective(ranks2):
    assert ranks2(costs) == [([1, 0, 0], 0)] * 2


def before_the_world(store, use):
    rank = int(os.environ["RANK"])
    mesh = make(*[((2, 1), "ab"), ((1, 2), "ab")][rank])
    same = make((2,), "c")
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    weft.initialize()
    uses = {
        "coordinates": lambda: mesh.coordinates,
        "layout": lambda: weft.distribute_tensor(torch.ones(4), (None,), mesh),
        "module": lambda: weft.distribute_module(torch.nn.Linear(2, 2), mesh=mesh),
    }
    return error_of(uses[use]), works(same)


@pytest.mark.parametrize("use", ["coordinates", "layout", "module"])
def test_meshes_made_before_the_world(tmp_path, use):
    (one, worked), (two, _) = run_ranks(2, before_the_world, [str(tmp_path / "store"), use], init=False)
    assert one[0] == two[0] and worked and max(one[1], two[1]) < 5
    assert "mesh (a=2, b=1) on cpu on rank 0, mesh (a=1, b=2) on cpu on rank 1" in one[0], one
