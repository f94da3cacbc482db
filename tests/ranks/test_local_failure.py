"""A kernel refuses what one rank alone holds: every rank raises, soon, and nobody hangs; alike on all, work goes on."""

import sys

import pytest
import torch
import weft
from support.cases import SOON, error_of, on_worlds
from support.ranks import run_programs, run_ranks

ROWS = 8


def mesh_of(world):
    return weft.DeviceMesh((world,), ("a",), device_type="cpu")


def table(mesh):
    return weft.distribute_variable(torch.randn(ROWS, 6, requires_grad=True), (None, None), mesh)


def batch(mesh, bad=(), each=4):
    """Split over the ranks; those in `bad` have an index out of range in their part."""
    indices = torch.arange(each * mesh.size) % ROWS
    for rank in bad:
        indices[each * rank + 1] = 100
    return weft.distribute_tensor(indices, ("a",), mesh)


def loss_of(weight, indices):
    return torch.nn.functional.embedding(indices, weight).square().sum()


def on_one_rank(world):
    mesh = mesh_of(world)
    weight, indices = table(mesh), batch(mesh, bad=[1])
    weft.full_tensor(loss_of(weight, batch(mesh)))
    first = error_of(lambda: weft.full_tensor(loss_of(weight, indices)))
    return first, *(error_of(lambda: weft.full_tensor(loss_of(weight, batch(mesh)))) for _ in range(2))


@pytest.mark.parametrize("world", [2, 4])
def test_on_one_rank_is_raised_by_all(world):
    for rank, (first, *later) in enumerate(run_ranks(world, on_one_rank, [world])):
        kind, text, took = first
        assert kind == "IndexError" and "index out of range" in text and "[embedding]" in text and took < SOON, first
        assert rank == 1 or text.startswith("[W094] [embedding] failed on rank 1"), text
        for kind, text, took in later:
            assert (
                kind == "RuntimeError" and "[W095] the ranks are out of step since [embedding] failed on rank 1" in text
            )
            assert took < SOON


def in_a_submesh(world):
    """Two of the ranks hold the bad index: the others wait for one another first, then for these."""
    mesh = weft.DeviceMesh((2, world // 2), ("a", "b"), device_type="cpu")
    weight = weft.distribute_tensor(torch.randn(ROWS, 6), (None, "b"), mesh)
    indices = torch.arange(8) % ROWS
    indices[-1] = 100
    indices = weft.distribute_tensor(indices, ("a",), mesh)
    return error_of(lambda: weft.full_tensor(torch.nn.functional.embedding(indices, weight)))


def test_on_one_line_of_a_mesh_is_raised_by_all():
    for kind, text, took in run_ranks(4, in_a_submesh, [4]):
        assert kind == "IndexError" and "[embedding]" in text and took < SOON, text


def before_a_new_mesh(world):
    """The others go on to make the groups of another mesh, which takes all ranks."""
    mesh = mesh_of(world)
    weight, indices = table(mesh), batch(mesh, bad=[1])

    def run():
        loss_of(weight, indices)
        other = weft.DeviceMesh((2, world // 2), ("a", "b"), device_type="cpu")
        weft.distribute_tensor(torch.ones(4, 4), ("a", "b"), other)

    return error_of(run), error_of(run)


def test_before_a_new_mesh_is_raised_by_all():
    for (kind, text, took), (_, later, _) in run_ranks(4, before_a_new_mesh, [4]):
        assert kind == "IndexError" and "[embedding]" in text and took < SOON, text
        assert "[embedding] failed on" in later


def in_backward(world):
    """Buckets of gradients are on their way when a kernel of the backward pass fails."""
    mesh = mesh_of(world)
    weight = weft.distribute_variable(torch.randn(6, 6, requires_grad=True), (None, None), mesh)
    x = weft.distribute_tensor(torch.randn(64 * world, 6), ("a", None), mesh).requires_grad_()
    table, bad = weft.distribute_tensor(torch.ones(ROWS, 6), (None, None), mesh), batch(mesh, bad=[1], each=64)

    class Pick(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * torch.nn.functional.embedding(bad, table)

    loss = (Pick.apply(x * 2) @ weight).sum()
    return error_of(loss.backward)


def test_in_backward_is_raised_by_all():
    for kind, text, took in run_ranks(2, in_backward, [2]):
        assert kind == "IndexError" and "[embedding]" in text and took < SOON, text


def of_matrices(world):
    """One matrix of a batch cannot be inverted: what tells by a result leaves the ranks in step, a kernel does not."""
    mesh = mesh_of(world)
    singular = torch.eye(3).repeat(2 * world, 1, 1)
    singular[-1] = 0
    one = weft.distribute_tensor(singular, ("a", None, None), mesh)
    nothing = weft.distribute_tensor(singular / singular, ("a", None, None), mesh)
    return (
        error_of(lambda: torch.linalg.inv(one)),
        error_of(lambda: weft.full_tensor(torch.linalg.inv_ex(one).inverse)),
        error_of(lambda: weft.full_tensor(torch.linalg.svdvals(nothing))),
    )


def test_of_a_matrix_is_raised_by_all():
    for inverse, unchecked, values in run_ranks(2, of_matrices, [2]):
        assert inverse[0] == "_LinAlgError" and "Batch element 3" in inverse[1], inverse
        assert unchecked[0] == "", unchecked
        assert values[0] == "_LinAlgError" and "_linalg_svd] failed on" in values[1] and values[2] < SOON, values


def on_all_ranks(world):
    mesh = mesh_of(world)
    weight = table(mesh)
    found = []
    for bad in (batch(mesh, range(world)), weft.distribute_tensor(torch.tensor([1, 100]), (None,), mesh)):
        found.append(error_of(lambda bad=bad: weft.full_tensor(loss_of(weight, bad))))
        found.append(error_of(lambda bad=bad: weft.full_tensor(loss_of(weight, bad))))
        loss = loss_of(weight, batch(mesh))
        loss.backward()
        expected = loss_of(weft.full_tensor(weight).detach(), torch.arange(4 * world) % ROWS)
        torch.testing.assert_close(weft.full_tensor(loss).detach(), expected)
    return found


results = on_worlds(on_all_ranks, 2, 4)


def test_on_all_ranks_alike_leaves_them_in_step(results):
    for found in results:
        for kind, text, took in found:
            assert kind == "IndexError" and "index out of range" in text and took < SOON, text


def value_of_a_distribution(world):
    p = torch.full((4 * world,), 0.5)
    p[5] = 3.0  # rank 1's
    p = weft.distribute_tensor(p, ("a",), mesh_of(world))
    return error_of(lambda: weft.full_tensor(torch.bernoulli(p)))


def test_parameters_of_distributions():
    for kind, text, took in run_ranks(2, value_of_a_distribution, [2]):
        assert kind == "RuntimeError" and "[bernoulli" in text and took < SOON, text


SCRIPT = """
import os, sys, time, torch, weft

weft.initialize()
rank, pid_file = weft.rank(), sys.argv[1]
mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
weight = weft.distribute_tensor(torch.ones(8, 2), (None, None), mesh)
indices = torch.arange(8)
indices[4] = 100  # rank 1's
try:
    weft.full_tensor(torch.nn.functional.embedding(weft.distribute_tensor(indices, ("a",), mesh), weight).sum())
except IndexError as e:
    print("caught", e)
if rank == 0:
    with open(pid_file + ".new", "w") as f:
        f.write(str(os.getpid()))
    os.rename(pid_file + ".new", pid_file)
elif sys.argv[2] == "stays":  # until the other is gone, whose collective it has never joined
    while not os.path.exists(pid_file):
        time.sleep(0.02)
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{open(pid_file).read()}"):
        assert time.monotonic() < end, "rank 0 does not end"
        time.sleep(0.02)
"""


@pytest.mark.parametrize("rank_1", ["leaves", "stays"])
def test_processes_end(tmp_path, rank_1):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for output in run_programs(2, [sys.executable, str(script), str(tmp_path / "pid"), rank_1], timeout=60):
        assert "caught" in output and "index out of range" in output, output
