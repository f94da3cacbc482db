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
