"""Small pending values are copied while the program goes on, and batches are checked likewise: nobody sees it."""

import torch
import weft
from support.ranks import RankPool


def _pending(mesh: weft.DeviceMesh, value: float) -> torch.Tensor:
    """A sum still pending over the mesh, of value * (1 + 2 + …)."""
    part = torch.full((3,), value * (weft.rank() + 1))
    return weft.from_local(part, weft.TensorLayout((None,), mesh, {mesh.axis_names[0]: "sum"}), (3,))


def copies() -> dict:
    mesh = weft.DeviceMesh((2,), ("data",))
    total = weft.distribute_tensor(torch.zeros(3), (None,), mesh)
    alias, view = total.detach(), total[1:]
    memory = weft.local_tensor(total)
    out = {}
    pending = _pending(mesh, 1.0)
    with weft.trace() as collectives:
        total.copy_(pending)
        out["in memory"] = memory.tolist()  # somebody who looks without asking
        del memory
        out["alias"] = weft.full_tensor(alias).tolist()
        out["view"] = weft.full_tensor(view).tolist()
    out["collectives"] = [(row.op, row.kind) for row in collectives.rows]
    # Written over, added to and read before anything has arrived.
    total.copy_(_pending(mesh, 2.0))
    total.copy_(_pending(mesh, 3.0))
    total.add_(1)
    out["twice"] = weft.full_tensor(total).tolist()
    total.copy_(_pending(mesh, 4.0))
    alias.mul_(2)
    out["through an alias"] = weft.full_tensor(total).tolist()
    total.copy_(_pending(mesh, 5.0))
    view.fill_(7)
    out["through a view"] = weft.full_tensor(total).tolist()
    total.copy_(_pending(mesh, 6.0))  # and never read
    return out


def test_copies(ranks2: RankPool) -> None:
    for out in ranks2(copies):
        assert out == {
            "in memory": [3.0] * 3,
            "alias": [3.0] * 3,
            "view": [3.0] * 2,
            "collectives": [("copy_", "all_reduce")],
            "twice": [10.0] * 3,
            "through an alias": [24.0] * 3,
            "through a view": [15.0, 7.0, 7.0],
        }


def held_on_one_rank() -> list[float]:
    """What holds a shard's memory on one rank alone (a collective's thread, still) does not decide what is sent."""
    mesh = weft.DeviceMesh((2,), ("data",))
    total = weft.distribute_tensor(torch.zeros(3), (None,), mesh)
    held = torch.ops.weft._shard(total) if weft.rank() == 0 else None
    total.copy_(_pending(mesh, 1.0))
    values = weft.full_tensor(weft.distribute_tensor(torch.ones(2), ("data",), mesh) * 2).tolist()  # sent in between
    del held
    return values + weft.full_tensor(total).tolist()


def test_held_on_one_rank(ranks2: RankPool) -> None:
    assert ranks2(held_on_one_rank) == [[2.0] * 2 + [3.0] * 3] * 2


def printed_on_one_rank() -> list[str]:
    """What is on its way, or is to be fetched from others, prints without its values, and layouts are known."""
    mesh = weft.DeviceMesh((2,), ("data",))
    total = weft.distribute_tensor(torch.zeros(3), (None,), mesh)
    rows = weft.distribute_tensor(torch.arange(8.0), ("data",), mesh)
    moved = rows[1:6]
    model = weft.distribute_module(torch.nn.Linear(4, 3), {}, mesh=mesh)
    model(weft.distribute_tensor(torch.ones(2, 4), ("data", None), mesh)).sum().backward()
    rows.mul_(10)
    total.copy_(_pending(mesh, 1.0))
    out = []
    if weft.rank() == 0:
        for x in (total, moved, model.weight.grad):
            out.append(str(x) + torch.ops.weft.describe(x) + str(weft.layout_of(x)))
    values = weft.full_tensor(weft.distribute_tensor(torch.ones(2), ("data",), mesh) * 2).tolist()
    assert values == [2.0, 2.0]
    assert weft.full_tensor(moved).tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert weft.full_tensor(total).tolist() == [3.0] * 3
    return out


def test_printed_on_one_rank(ranks2: RankPool) -> None:
    total, moved, _ = ranks2(printed_on_one_rank)[0]
    for text in (total, moved):
        assert text.count("on their way") == 2


def steps() -> dict:
    """Training steps, each with a metric and a check of the batch."""
    mesh = weft.DeviceMesh((2,), ("data",))
    model = weft.distribute_module(torch.nn.Linear(4, 3), {}, mesh=mesh)
    x = weft.distribute_tensor(torch.arange(24.0).view(6, 4), ("data", None), mesh)
    total = weft.distribute_tensor(torch.zeros(()), (), mesh)
    check = torch.ops.weft.check_same
    out: dict = {"kinds": [], "values": []}
    for step in range(3):
        with weft.trace() as collectives:
            check([step], "the batch", mesh._object, True)
            loss = model(x).square().sum()
            total.copy_(total.detach() + loss.detach())
            loss.backward()
            torch.ops.weft.finish_checks()
            out["values"].append(weft.full_tensor(total).item() / weft.full_tensor(loss.detach()).item())
        out["kinds"].append([(row.op, row.kind) for row in collectives.rows])
    check([weft.rank()], "the batch", mesh._object, True)
    try:
        model(x).square().sum().backward()
    except ValueError as e:
        out["error"] = str(e).split("\n")[0]
    return out


def test_they_ride_with_the_gradients(ranks2: RankPool) -> None:
    for out in ranks2(steps):
        # The second is the test's own look at the loss.
        assert out["kinds"] == [[("gradient", "all_reduce"), ("full_tensor", "all_reduce")]] * 3
        assert out["values"] == [1.0, 2.0, 3.0]
        assert "the batch must be the same on all ranks" in out["error"]


def gradients() -> bool:
    """What autograd saved of a tensor that is written afterwards is noticed as ever."""
    mesh = weft.DeviceMesh((2,), ("data",))
    total = weft.distribute_tensor(torch.ones(3), (None,), mesh)
    x = weft.distribute_tensor(torch.ones(3), (None,), mesh).requires_grad_()
    y = (x * total).sum()
    total.copy_(_pending(mesh, 1.0))
    try:
        y.backward()
    except RuntimeError as e:
        return "modified by an inplace operation" in str(e)
    return False


def test_saved_tensors(ranks2: RankPool) -> None:
    assert ranks2(gradients) == [True, True]


def checked_soon(differs: bool) -> tuple[str, list]:
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    weft.world_size()  # takes torch.distributed's world
    check = torch.ops.weft.check_same
    check([1, 2], "the first", mesh._object, True)
    check([weft.rank() if differs else 0], "the second", mesh._object, True)
    error = ""
    try:
        weft.full_tensor(weft.from_local(torch.ones(2), weft.TensorLayout(("data",), mesh), (4,)))
        torch.ops.weft.finish_checks()
    except ValueError as e:
        error = str(e).split("\n")[0]
    # In step again.
    return error, weft.full_tensor(weft.from_local(torch.ones(2), weft.TensorLayout(("data",), mesh), (4,))).tolist()


def test_checks_that_are_not_waited_for(ranks4: RankPool) -> None:
    assert ranks4(checked_soon, False) == [("", [1.0] * 4)] * 4
    results = ranks4(checked_soon, True)
    assert len({error for error, _ in results}) == 1
    assert "the second must be the same on all ranks" in results[0][0]
    assert all(values == [1.0] * 4 for _, values in results)
