"""torch.distributed's own collectives on sharded tensors: what leaves a value as it is does so; all else is refused."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
import weft
from support.cases import cases_on_worlds, every_layout, same

X = torch.arange(30.0).view(5, 6) - 7  # of five rows: uneven on two ranks and on three
Op = dist.ReduceOp

LEAVES: dict[str, Callable[[torch.Tensor], object]] = {
    "broadcast": lambda x: dist.broadcast(x, 0),
    "broadcast from the last": lambda x: dist.broadcast(x, dist.get_world_size() - 1),
    "broadcast, async": lambda x: dist.broadcast(x, 0, async_op=True).wait(),
    "all_reduce avg": lambda x: dist.all_reduce(x, Op.AVG),
    "all_reduce max": lambda x: dist.all_reduce(x, Op.MAX),
    "all_reduce min": lambda x: dist.all_reduce(x, Op.MIN),
    "reduce max": lambda x: dist.reduce(x, 0, Op.MAX),
    "all_reduce, async": lambda x: dist.all_reduce(x, Op.MAX, async_op=True).get_future().wait(),
    "all_reduce_coalesced": lambda x: dist.all_reduce_coalesced([x, x], Op.MIN),
    "all_reduce alone": lambda x: dist.all_reduce(x, group=alone()),
    "barrier": lambda x: dist.barrier(),
}
GIVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "all_reduce max": lambda x: functional.all_reduce(x, "max", dist.group.WORLD),
    "all_reduce avg": lambda x: functional.all_reduce(x, "avg", dist.group.WORLD),
    "broadcast": lambda x: functional.broadcast(x, 0, dist.group.WORLD),
    "all_reduce_coalesced": lambda x: functional.all_reduce_coalesced([x], "min", dist.group.WORLD)[0],
}


def copies(x: torch.Tensor) -> list[torch.Tensor]:
    return [torch.zeros_like(x) for _ in range(dist.get_world_size())]


def plain_copies(x: torch.Tensor) -> list[torch.Tensor]:
    return [torch.zeros(x.shape) for _ in range(dist.get_world_size())]


def on_first(tensors: list[torch.Tensor]) -> list[torch.Tensor] | None:
    return tensors if dist.get_rank() == 0 else None


def wide(x: torch.Tensor) -> torch.Tensor:
    return torch.cat(copies(x))


# These name what they are given beside x.
OF_OTHERS = (
    "reduce_scatter into a plain one",
    "reduce_scatter_tensor",
    "all_to_all",
    "all_to_all_single",
    "functional reduce_scatter",
)
REFUSED: dict[str, tuple[str, Callable[[torch.Tensor], object]]] = {
    "all_reduce": ("allreduce", lambda x: dist.all_reduce(x)),
    "all_reduce product": ("allreduce", lambda x: dist.all_reduce(x, Op.PRODUCT)),
    "all_reduce, async": ("allreduce", lambda x: dist.all_reduce(x, async_op=True)),
    "all_reduce of a leaf": ("allreduce", lambda x: dist.all_reduce(x.requires_grad_())),
    "reduce": ("reduce", lambda x: dist.reduce(x, 0)),
    "with plain ones": ("allreduce_coalesced", lambda x: dist.all_reduce_coalesced([x, torch.ones(2)], Op.MAX)),
    "all_gather": ("allgather", lambda x: dist.all_gather(copies(x), x)),
    "all_gather into plain ones": ("allgather", lambda x: dist.all_gather(plain_copies(x), x)),
    "all_gather_into_tensor": ("allgather", lambda x: dist.all_gather_into_tensor(wide(x), x)),
    "reduce_scatter": ("reduce_scatter", lambda x: dist.reduce_scatter(x, copies(x))),
    "reduce_scatter into a plain one": (
        "reduce_scatter",
        lambda x: dist.reduce_scatter(torch.zeros(x.shape), copies(x)),
    ),
    "reduce_scatter_tensor": ("reduce_scatter", lambda x: dist.reduce_scatter_tensor(x, wide(x))),
    "gather": ("gather", lambda x: dist.gather(x, on_first(copies(x)), 0)),
    "scatter": ("scatter", lambda x: dist.scatter(x, on_first(copies(x)), 0)),
    "all_to_all": ("alltoall", lambda x: dist.all_to_all(copies(x), copies(x))),
    "all_to_all_single": ("alltoall", lambda x: dist.all_to_all_single(wide(x), wide(x))),
    "send": ("send", lambda x: dist.send(x, (weft.rank() + 1) % weft.world_size())),
    "recv": ("recv", lambda x: dist.recv(x, (weft.rank() + 1) % weft.world_size())),
    "functional all_reduce": ("all_reduce", lambda x: functional.all_reduce(x, "sum", dist.group.WORLD)),
    "functional all_gather": (
        "all_gather_into_tensor",
        lambda x: functional.all_gather_tensor(x, 0, dist.group.WORLD),
    ),
    "functional reduce_scatter": (
        "reduce_scatter_tensor",
        lambda x: functional.reduce_scatter_tensor(wide(x), "max", 0, dist.group.WORLD),
    ),
}
_alone: dict[int, dist.ProcessGroup] = {}


def alone() -> dist.ProcessGroup:
    """A group of this rank."""
    if not _alone:
        _alone.update((rank, dist.new_group([rank])) for rank in range(dist.get_world_size()))
    return _alone[dist.get_rank()]


def leaves(mesh: weft.DeviceMesh, call: Callable) -> None:
    alone()
    for layout in every_layout(mesh, 2):
        x = weft.distribute_tensor(X, layout)
        with weft.trace() as trace:
            call(x)
        assert trace.count() == 0 and weft.layout_of(x) == layout
        same(x, X, str(layout), exact=True)


def gives(mesh: weft.DeviceMesh, call: Callable) -> None:
    for layout in every_layout(mesh, 2):
        x = weft.distribute_tensor(X, layout)
        y = call(x)
        y = y.wait() if isinstance(y, functional.AsyncCollectiveTensor) else y
        assert weft.is_sharded(y) and y is not x
        same(y, X, str(layout), exact=True)
        x.zero_()
        same(y + 0, X, "a value of its own", exact=True)


def refused(mesh: weft.DeviceMesh, name: str) -> None:
    """The op, the layout and the ways out are named; nothing has changed, and the ranks are in step."""
    op, call = REFUSED[name]
    for layout in every_layout(mesh, 2):
        x = weft.distribute_tensor(X, layout)
        named = "" if name in OF_OTHERS else re.escape(torch.ops.weft.type_str(x))
        with pytest.raises(ValueError, match=rf"\[\w*c10d\w*::_?{op}.*{named} over mesh") as e:
            call(x)
        assert "weft.local_tensor(x)" in str(e.value) and "weft.full_tensor(x)" in str(e.value)
        same(x, X, str(layout), exact=True)
    ones = torch.ones(3)
    dist.all_reduce(ones)
    assert ones.tolist() == [mesh.size] * 3


def names_the_sum(mesh: weft.DeviceMesh) -> None:
    x = weft.distribute_tensor(X, ("a", None), mesh)
    with pytest.raises(ValueError, match=rf"a sum over {mesh.size} ranks would count it {mesh.size} times"):
        dist.all_reduce(x)


def averages_a_loss(mesh: weft.DeviceMesh) -> None:
    """Programs for several processes log a loss so: that of the whole batch is there already."""
    for layout in every_layout(mesh, 2, partial=False):
        x = weft.distribute_tensor(X, layout).requires_grad_()
        loss = x.square().mean()
        loss.backward()
        logged = loss.detach().clone()
        dist.all_reduce(logged, Op.AVG)
        dist.all_reduce(x.grad, Op.AVG)
        same(logged, X.square().mean())
        same(x.grad, X * 2 / 30)


def last() -> int:
    return dist.get_world_size() - 1


def mostly_plain(x: object) -> list:
    """One object for each rank."""
    return ["plain"] * last() + [x]


def pass_on(sent: list, received: list) -> None:
    """Passes on from the first rank to the second, if it is this one's turn."""
    if weft.rank() == 0:
        dist.send_object_list(sent, 1)
    elif weft.rank() == 1:
        dist.recv_object_list(received, 0)


# Of a sharded tensor that only the rank which sends has in its list: what is called, and which ranks it concerns.
OBJECTS: dict[str, tuple[Callable[[torch.Tensor, list], object], Callable[[], bool]]] = {
    "broadcast_object_list": (
        lambda x, out: dist.broadcast_object_list(mostly_plain({"x": x}) if weft.rank() == 0 else out, 0),
        lambda: True,
    ),
    "broadcast_object_list, from the last": (
        lambda x, out: dist.broadcast_object_list(mostly_plain(x) if weft.rank() == last() else out, last()),
        lambda: True,
    ),
    "broadcast_object_list, weights_only": (
        lambda x, out: dist.broadcast_object_list([x] * len(out) if weft.rank() == 0 else out, 0, weights_only=True),
        lambda: True,
    ),
    "scatter_object_list": (
        lambda x, out: dist.scatter_object_list(out, mostly_plain(x) if weft.rank() == 0 else None, 0),
        lambda: True,
    ),
    "all_gather_object": (lambda x, out: dist.all_gather_object(out, x if weft.rank() == last() else 1), lambda: True),
    "all_gather_object, all": (lambda x, out: dist.all_gather_object(out, x), lambda: True),
    "gather_object": (
        lambda x, out: dist.gather_object(x if weft.rank() == last() else 1, out if weft.rank() == 0 else None, 0),
        lambda: weft.rank() in (0, last()),
    ),
    "send_object_list": (lambda x, out: pass_on(mostly_plain(x), out), lambda: weft.rank() < 2),
}


def lists_of_objects(mesh: weft.DeviceMesh, name: str) -> None:
    """They travel by pickle, which says what to do: on every rank that waits for it, with nothing changed."""
    call, concerned = OBJECTS[name]
    x = weft.distribute_tensor(X, ("a", None), mesh)
    out: list = ["before"] * mesh.size
    if concerned():
        with pytest.raises(NotImplementedError, match=r"\[W060\] weft: pickle.*weft\.full_tensor"):
            call(x, out)
    else:
        call(x, out)
    assert out == ["before"] * mesh.size
    all_values = [None] * mesh.size
    dist.all_gather_object(all_values, x.tolist())  # still in step
    assert all_values == [X.tolist()] * mesh.size


# Of a sharded tensor that only the root gives, or only the others.
MIXED: dict[str, tuple[str, Callable[[torch.Tensor], object]]] = {
    "scatter": ("scatter", lambda x: dist.scatter(torch.zeros(X.shape), on_first([x] * dist.get_world_size()), 0)),
    "scatter into sharded ones": (
        "scatter",
        lambda x: dist.scatter(x if weft.rank() else X.clone(), on_first([X.clone()] * dist.get_world_size()), 0),
    ),
    "gather": ("gather", lambda x: dist.gather(X.clone(), on_first(copies(x)), 0)),
    "broadcast": ("broadcast", lambda x: dist.broadcast(torch.zeros(X.shape) if weft.rank() else x, 0)),
    "broadcast by name": (
        "broadcast",
        lambda x: dist.broadcast(tensor=x if weft.rank() == last() else X.clone(), src=last(), group=dist.group.WORLD),
    ),
    "broadcast of a plain one": ("broadcast", lambda x: dist.broadcast(x if weft.rank() else X.clone(), 0)),
}


def mixed(mesh: weft.DeviceMesh, name: str) -> None:
    """One error for all, before anything is sent, which tells who gave plain ones."""
    op, call = MIXED[name]
    x = weft.distribute_tensor(X, ("a", None), mesh)
    sharded = r"got a sharded tensor, f32\[.*@a.* over mesh .*: ranks? "
    with pytest.raises(ValueError, match=rf"\[c10d::{op}_\] {sharded}") as e:
        call(x)
    texts = [""] * mesh.size
    dist.all_gather_object(texts, str(e.value))
    assert len(set(texts)) == 1 and "weft.full_tensor(x)" in texts[0]
    same(x, X, exact=True)


def plain_rooted(mesh: weft.DeviceMesh) -> None:
    """Calls with plain tensors alone are as ever: in the world, and in groups without some ranks."""
    value = X.clone() if weft.rank() == 0 else torch.zeros(X.shape)
    dist.broadcast(value, 0)
    assert torch.equal(value, X)
    got = torch.zeros(2)
    dist.scatter(got, on_first([torch.full((2,), float(r)) for r in range(mesh.size)]), 0)
    assert got.tolist() == [weft.rank()] * 2
    sent = torch.ones(1) * weft.rank()
    dist.broadcast(sent, weft.rank(), alone())
    assert sent.item() == weft.rank()


def parts(mesh: weft.DeviceMesh) -> None:
    """The ways out that the errors name."""
    x = weft.distribute_tensor(X, ("a", None), mesh)
    total = weft.local_tensor(x).sum()
    dist.all_reduce(total)
    assert total == X.sum()
    got = plain_copies(X)
    dist.all_gather(got, weft.full_tensor(x))
    assert all(torch.equal(g, X) for g in got)


def plain_into_sharded(mesh: weft.DeviceMesh) -> None:
    """What each rank gave has arrived on all of them: written as any plain value is."""
    out = copies(weft.distribute_tensor(X, ("a", None), mesh))
    dist.all_gather(out, X + weft.rank())
    for rank, got in enumerate(out):
        assert weft.is_sharded(got)
        same(got, X + rank, f"of rank {rank}", exact=True)


def plain_as_ever(mesh: weft.DeviceMesh) -> None:
    own = torch.full((2,), float(weft.rank() + 1))
    dist.all_reduce(own)
    assert own.tolist() == [mesh.size * (mesh.size + 1) / 2] * 2
    assert functional.all_reduce(torch.ones(1), "sum", dist.group.WORLD).item() == mesh.size


OTHERS = (names_the_sum, averages_a_loss, plain_rooted, parts, plain_into_sharded, plain_as_ever)
CASES: dict[str, Callable[[weft.DeviceMesh], None]] = (
    {f"leaves: {name}": lambda mesh, call=call: leaves(mesh, call) for name, call in LEAVES.items()}
    | {f"gives: {name}": lambda mesh, call=call: gives(mesh, call) for name, call in GIVES.items()}
    | {f"refused: {name}": lambda mesh, name=name: refused(mesh, name) for name in REFUSED}
    | {f"objects: {name}": lambda mesh, name=name: lists_of_objects(mesh, name) for name in OBJECTS}
    | {f"mixed: {name}": lambda mesh, name=name: mixed(mesh, name) for name in MIXED}
    | {case.__name__: case for case in OTHERS}
)

results, test_collective = cases_on_worlds(globals(), 2, 3)
