"""Ranks that ask for other collectives than the others do, of the same size."""

import torch
from faults.part import Part
from faults.row import DIFFERENT, row


@row(*DIFFERENT, "full_tensor")
def full_tensors_swapped(p: Part) -> None:
    """two full_tensors of one size in the other order."""
    p.check_swapped([p.rows(0), p.rows(100)])


@row(*DIFFERENT, "full_tensor", ranks=4)
def full_tensors_swapped_on_four(p: Part) -> None:
    """two full_tensors of one size in the other order, four ranks."""
    full_tensors_swapped(p)


@row(*DIFFERENT, "full_tensor")
def sums_swapped(p: Part) -> None:
    """two pending sums of one size carried out in the other order."""
    p.check_swapped([p.pending(0), p.pending(100)])


@row(*DIFFERENT, "sum|item")
def items_swapped(p: Part) -> None:
    """two items in the other order."""
    pairs = [p.rows(0), p.rows(100)]
    for plain, sharded in p.pick(pairs, pairs[::-1]):
        p.check(sharded.sum().item(), plain.sum())


@row(*DIFFERENT, "relu", "full_tensor")
def other_op(p: Part) -> None:
    """another op on one rank, its result of the same size."""
    plain, sharded = p.rows(-3)
    f = p.pick(torch.exp, torch.relu)
    p.check_full(f(sharded), f(plain))


@row(*DIFFERENT, "all_to_all", "all_gather")
def other_collective(p: Part) -> None:
    """an all_to_all against an all_gather, of layouts that were compared before."""
    plain, sharded = p.rows()
    layouts = [(None, None), (None, "a")]
    for layout in layouts:
        p.lay(sharded, layout)
    moved = p.lay(sharded + 1, p.pick(*layouts))
    p.check_full(moved, plain + 1)


@row(*DIFFERENT, r"f32\[", r"i32\[")
def other_dtype(p: Part) -> None:
    """another dtype with as many bytes."""
    plain, sharded = p.rows()
    dtype = p.pick(torch.float32, torch.int32)
    p.check_full(sharded.to(dtype), plain.to(dtype))


@row(*DIFFERENT, "sum", "max")
def sum_against_max(p: Part) -> None:
    """the item of a sum against that of a maximum."""
    plain, sharded = p.rows(1)
    f = p.pick(torch.sum, torch.amax)
    p.check(f(sharded).item(), f(plain))


@row(*DIFFERENT, "sum", "max", ranks=4)
def reduction_differs_on_four(p: Part) -> None:
    """a sum over the split dimension against a maximum, four ranks."""
    plain, sharded = p.rows(1)
    f = p.pick(torch.sum, torch.amax)
    p.check_full(f(sharded, 0), f(plain, 0))


@row(*DIFFERENT, "full_tensor")
def full_tensor_on_one(p: Part) -> None:
    """one rank alone calls full_tensor, then goes on."""
    plain, sharded = p.rows(50)
    if p.odd():
        p.check_full(sharded, plain)
    p.go_on()


@row(*DIFFERENT, "sum|item")
def item_on_one(p: Part) -> None:
    """one rank alone calls item, then goes on."""
    plain, sharded = p.rows(50)
    if p.odd():
        p.check(sharded.sum().item(), plain.sum())
    p.go_on()


@row(*DIFFERENT, "full_tensor")
def numpy_on_one(p: Part) -> None:
    """one rank alone calls numpy, then goes on."""
    plain, sharded = p.rows(50)
    if p.odd():
        p.check(sharded.numpy(), plain)
    p.go_on()


@row(*DIFFERENT)
def order_of_a_dict(p: Part) -> None:
    """a dict of tensors that one rank filled in another order."""
    state = {name: p.rows(start) for name, start in zip("abc", (0, 100, 200), strict=True)}
    for name in p.pick("abc", "cab"):
        plain, sharded = state[name]
        p.check_full(sharded, plain)


@row(*DIFFERENT)
def order_of_a_set(p: Part) -> None:
    """a sum over a set of names that one rank goes through in another order."""
    state = {name: p.pending(start) for name, start in zip("abc", (0, 100, 200), strict=True)}
    for name in p.pick(list("bca"), list("acb")):
        plain, sharded = state[name]
        p.check((sharded * 2).sum().item(), 2 * plain.sum())


@row("full_tensor", within=1)
def caught_and_gone_on(p: Part) -> None:
    """the ranks catch the error of swapped full_tensors and go on: every later collective says so."""
    try:
        p.check_swapped([p.rows(0), p.rows(100)])
    except ValueError as e:
        p.tell("caught", str(e))
    p.go_on()


@row(*DIFFERENT, "full_tensor", env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
def under_detail(p: Part) -> None:
    """TORCH_DISTRIBUTED_DEBUG=DETAIL: two full_tensors in the other order."""
    full_tensors_swapped(p)
