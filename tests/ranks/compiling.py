"""torch.compile that records sharded programs, for the tests of it."""

import contextlib
import operator
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
import weft
from support.versions import COMPILED_GRAPHS

needed = pytest.mark.skipif(not COMPILED_GRAPHS, reason="weft.compile_graphs needs torch 2.15")


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Within it, what is compiled is recorded."""
    before = weft.compile_graphs()
    try:
        yield
    finally:
        weft.compile_graphs(before)


class Recorded:
    """A backend that keeps the graphs of AOTAutograd and runs them."""

    def __init__(self):
        self.graphs = []

    def __call__(self, module, inputs):
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        def keep(graph, _):
            self.graphs.append(graph)
            return make_boxed_func(graph.forward)

        return aot_autograd(fw_compiler=keep, bw_compiler=keep)(module, inputs)

    def collectives(self):
        """How many tensors move by each kind, several at once or not; each collective is waited for."""
        found: Counter[str] = Counter()
        for node in (n for g in self.graphs for n in g.graph.nodes if "_c10d" in str(n.target)):
            name, tensors = node.target._opname, node.args[0]
            if name == "wait_tensor":
                continue
            users = {u for user in node.users for u in (user.users if user.target is operator.getitem else [user])}
            assert users and all(user.target._opname == "wait_tensor" for user in users), users
            if getattr(tensors, "target", None) is torch.ops.aten.cat.default:  # several in one buffer
                tensors = tensors.args[0]
            together = len(tensors) if isinstance(tensors, list | tuple) else 1
            found[name.removesuffix("_coalesced")] += together
        return found

    def constants(self):
        """Tensors with values in them that a program would use again."""
        baked = [(g, n) for g in self.graphs for n in g.graph.nodes if n.op == "get_attr"]
        return [n.target for g, n in baked if getattr(g, n.target).numel() > 0]


NAMES = {
    "all_gather": "all_gather_into_tensor",
    "reduce_scatter": "reduce_scatter_tensor",
    "all_to_all": "all_to_all_single",
}


def moved(loss: Callable[[], torch.Tensor], model: torch.nn.Module) -> tuple[Counter[str], Counter[str], list[str]]:
    """How many tensors move by each kind in a step op by op, without buckets, and in one that is compiled, without
    AOTAutograd's merging of equal ops; and what values are baked into its graphs."""
    variables = list(model.parameters())
    with weft.overlap(0), weft.trace() as trace:
        grads = torch.autograd.grad(loss(), variables, allow_unused=True)
        for grad, variable in zip(grads, variables, strict=True):
            if grad is not None:
                torch.ops.weft._laid_out(grad, weft.layout_of(variable)._id)
    backend = Recorded()
    torch._dynamo.reset()
    with torch._functorch.config.patch(cse=False):
        torch.compile(loss, backend=backend, fullgraph=True)().backward()
    rows = Counter(row.kind for row in trace.rows)
    return Counter({NAMES.get(k, k): n for k, n in rows.items()}), backend.collectives(), backend.constants()
