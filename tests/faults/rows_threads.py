"""Two threads of each rank that communicate at once: in whatever order they meet, no value is wrong."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
import weft
from faults.part import Part
from faults.row import row

ROUNDS = 40
CLEAR = "two threads|different collectives|out of step|has not come to|have not come to|told"


def together(work: Callable[[int], None]) -> None:
    """Both threads to their ends; raises what the first one that failed has raised."""
    errors: list[Exception] = []

    def run(i: int) -> None:
        try:
            work(i)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@row(CLEAR, expect="either", same=False, control=False)
def two_threads(p: Part) -> None:
    """two threads run ops on one mesh."""
    pairs = [p.rows(0), p.rows(1000)]
    p.odd()

    def work(i: int) -> None:
        plain, sharded = pairs[i]
        for n in range(ROUNDS):
            p.check_full(sharded + n, plain + n, f"thread {i}, round {n}")

    together(work)


@row(CLEAR, expect="either", same=False, control=False)
def two_threads_backward(p: Part) -> None:
    """two threads run backward on one mesh."""
    weights = [weft.distribute_variable(torch.ones(4, 4) * (i + 1), (None, None), p.mesh) for i in range(2)]
    batches = [p.lay(torch.full((2 * p.ranks, 4), float(i + 1)), ("a", None)) for i in range(2)]
    p.odd()

    def work(i: int) -> None:
        weight = weights[i].detach().requires_grad_()
        for n in range(ROUNDS // 4):
            (batches[i] @ weight).sum().backward()
            p.check_full(weight.grad, torch.full((4, 4), 2.0 * p.ranks * (i + 1) * (n + 1)), f"thread {i}, round {n}")

    together(work)


@row(expect="right")
def threads_take_turns(p: Part) -> None:
    """two threads take turns that are the same on all ranks."""
    plain, sharded = p.rows()
    p.odd()
    for n in range(4):
        thread = threading.Thread(target=p.check_full, args=(sharded + n, plain + n))
        thread.start()
        thread.join()


@row(expect="right")
def pool_threads(p: Part) -> None:
    """which thread of a pool takes the next turn differs between the ranks."""
    weight = weft.distribute_variable(torch.ones(4, 4), ("a", None), p.mesh)
    threads = [ThreadPoolExecutor(1) for _ in range(2)]

    def step(n: int) -> None:
        weight.data = torch.full((4, 4), float(n))
        p.check_full(weight + 1, torch.full((4, 4), n + 1.0), f"step {n}")

    for n, thread in enumerate(p.pick([0, 0, 1, 0], [0, 1, 1, 0])):
        threads[thread].submit(step, n).result()
