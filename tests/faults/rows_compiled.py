"""Ranks of which one runs another compiled program, or none."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
import weft
from faults.part import Part
from faults.row import DIFFERENT, row

COMPILED = "a compiled program"


def shares(x: torch.Tensor) -> torch.Tensor:
    return x / x.sum()


def energy(x: torch.Tensor) -> torch.Tensor:
    return (x / x.sum()).square().sum()


def compiled(function: Callable, *examples: torch.Tensor) -> Callable:
    """Compiled, and run with each of the examples, before the fault."""
    weft.compile_graphs()
    run = torch.compile(function, backend="aot_eager", fullgraph=True)
    for example in examples:
        run(example)
    return run


@row(*DIFFERENT, COMPILED)
def one_runs_op_by_op(p: Part) -> None:
    """one rank runs a function op by op, the others as a compiled program."""
    plain, x = p.rows(1)
    run = compiled(shares, x)
    p.check_full(p.pick(run, shares)(x), shares(plain))
    p.go_on()


@row(*DIFFERENT, COMPILED)
def one_skips_a_program(p: Part) -> None:
    """one rank does not run a compiled program."""
    plain, x = p.rows(1)
    run = compiled(shares, x)
    for _ in range(p.pick(2, 1)):
        y = run(x)
    p.check_full(y, shares(plain))
    p.go_on()


@row(*DIFFERENT, COMPILED, "of another value")
def another_input(p: Part) -> None:
    """one rank runs a compiled program on another tensor."""
    pairs = [p.rows(1), p.rows(1000)]
    run = compiled(shares, pairs[0][1])
    plain, x = p.pick(pairs[0], pairs[1])
    p.check_full(run(x), shares(plain))
    p.go_on()


@row(*DIFFERENT, COMPILED)
def another_program(p: Part) -> None:
    """one rank runs another compiled program."""
    plain, x = p.rows(1)
    run = p.pick(compiled(shares, x), compiled(lambda x: x - x.amax(), x))
    p.check_full(run(x), shares(plain))
    p.go_on()


@row(*DIFFERENT)
def one_goes_back_op_by_op(p: Part) -> None:
    """one rank takes a step op by op after the forward pass of the others' compiled one."""
    plain, x = p.rows(1)
    x.requires_grad_()
    plain.requires_grad_()
    loss = compiled(energy, x)(x)
    if p.odd():
        loss = energy(x)
    loss.backward()
    energy(plain).backward()
    p.check_full(x.grad, plain.grad)
    p.go_on()


@row(*DIFFERENT)
def generators_came_apart_in_a_program(p: Part) -> None:
    """one rank drew a random number more, before dropout in a compiled program."""
    plain, x = p.rows(1)
    run = compiled(lambda x: F.dropout(x * 3, 0.5), x)
    if p.odd():
        torch.rand(1)
    dropped = weft.full_tensor(run(x))
    p.check(dropped * (dropped - 6 * plain), torch.zeros_like(plain), "dropout")
    p.go_on()


@row(*DIFFERENT, "of another value")
def another_plain_operand_in_a_program(p: Part) -> None:
    """one rank gives a compiled program another plain operand; what no sharded tensor meets may differ."""
    plain, x = p.rows(1)
    run, rank = compiled(lambda x, scale, own: (x * scale, own + 1)), torch.full((2,), float(weft.rank()))
    run(x, torch.ones(4), rank)
    y, own = run(x, torch.full((4,), p.pick(2.0, 3.0)), rank)
    p.check(own, rank + 1, "own")
    p.check_full(y, plain * 2)
    p.go_on()


@row(*DIFFERENT, "of another value")
def another_constant_in_a_program(p: Part) -> None:
    """one rank's compiled program, without collectives, has another number in its code."""
    plain, x = p.rows(1)
    twice, thrice = compiled(lambda x: x * 2.0, x), compiled(lambda x: x * 3.0, x)
    p.check_full(p.pick(twice, thrice)(x), plain * 2)
    p.go_on()


@row(*DIFFERENT, COMPILED)
def another_mode_in_a_program(p: Part) -> None:
    """one rank's dropout was in training mode when it was compiled."""
    plain, x = p.rows(1)
    dropouts = [torch.nn.Dropout(0.5).train(training) for training in (False, True)]
    runs = [compiled(lambda x, drop=drop: drop(x) / x.sum(), x) for drop in dropouts]
    p.check_full(p.pick(*runs)(x), shares(plain))
    p.go_on()


@row(*DIFFERENT, COMPILED)
def another_gradient_of_a_program(p: Part) -> None:
    """one rank brings another gradient into a compiled program's backward pass."""
    plain, x = p.rows(1)
    x.requires_grad_()
    plain.requires_grad_()
    run, ones = compiled(shares), torch.ones_like(plain)
    run(x).backward(ones)
    shares(plain).backward(ones)
    run(x).backward(ones * p.pick(1.0, 2.0))
    shares(plain).backward(torch.ones_like(plain))
    p.check_full(x.grad, plain.grad)
    p.go_on()


@row(r"\[a compiled program\] failed on rank 1: IndexError: index out of range|^IndexError: index out", same=False)
def index_out_of_range_in_a_program(p: Part) -> None:
    """one rank's part has an index out of range in a compiled program."""
    table = torch.arange(8.0).view(4, 2)
    weight, split = p.lay(table, (None, None)), weft.TensorLayout(("a",), p.mesh)
    index = weft.from_local(torch.tensor([1, 2]), split)
    run = compiled(lambda i, w: F.embedding(i, w).square().sum())
    run(index, weight)
    index = weft.from_local(torch.tensor([p.pick(1, 7), 2]), split)
    p.check(run(index, weight).item(), p.ranks * table[1:3].square().sum(), "sum")
    p.go_on()
