"""torch.compile of ops whose sharded form is more than the op on the parts."""

import pytest
import torch
import torch.nn.functional as F
import weft
from ranks.compiling import needed, recorded
from support.cases import check, meshes, on_worlds, run_cases, same

pytestmark = needed

LABELS = torch.tensor([0, 3, 5, 2])


def with_writes(x):
    y = x.clone()
    y[0] = 0
    y[:, 1] = y[:, 2]  # columns that one rank holds, of columns that one rank holds
    return y


# Of [4, 6]. Those of every run are the ones that differ most in how they run.
OPS = {
    "layer_norm": lambda x: F.layer_norm(x, (6,), x.detach()[0], None),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS),
    "view of a pending sum": lambda x: (x @ x.t()).view(2, 2, 4) + 1,
    "writes": with_writes,
    "conv": lambda x: F.conv1d(x[:, None, :], torch.ones(2, 1, 3, dtype=x.dtype), padding=1),
    "embedding": lambda x: F.embedding(LABELS.clamp(max=3), x),
    "sdpa": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
}
MORE = {
    "rms_norm": lambda x: F.rms_norm(x, (6,)),
    "group_norm": lambda x: F.group_norm(x[:, :, None], 3),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "norm": lambda x: x.norm(dim=-1),
    "var": lambda x: x.var(-1),
    "std": lambda x: x.std(),
    "mean": lambda x: x.mean(-1),
    "amax": lambda x: x.amax(-1),
    "max": lambda x: x.max(-1)[0],
    "logsumexp": lambda x: x.logsumexp(-1),
    "cumsum": lambda x: x.cumsum(-1),
    "topk": lambda x: x.topk(2, -1)[0],
    "sort": lambda x: x.sort(-1)[0],
    "svdvals": lambda x: torch.linalg.svdvals(x),
    "roll": lambda x: x.roll(1, -1),
    "flip": lambda x: x.flip(-1),
    "pad": lambda x: F.pad(x, (1, 1)),
    "tril": lambda x: x.tril(),
    "repeat": lambda x: x.repeat(2, 2),
    "index": lambda x: x[LABELS[:2]],
    "gather": lambda x: x.gather(1, LABELS.view(4, 1)),
    "cat": lambda x: torch.cat([x, x * 2], -1),
    "chunk": lambda x: x.chunk(3, -1)[1] * 2,
    "select": lambda x: x[1] + x[:, 2].sum(),
    "max_pool": lambda x: F.max_pool1d(x[:, None, :], 2),
    "where": lambda x: torch.where(x > 0, x, x * 0.1),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "nll": lambda x: F.nll_loss(x.log_softmax(-1), LABELS),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x)),
    "dropout": lambda x: F.dropout(x, 0.5),
    "in place": lambda x: x.clone().add_(1).mul_(2),
    "pow": lambda x: x.abs().pow(x.detach().sum() * 0 + 2),
    "clamp": lambda x: x.clamp(-1, 1),
}


def compiled(mesh, function):
    """One graph forward, one backward, equal to plain torch; random values are, in replay mode."""
    for axes in ((None, "a"), ("a", None)):
        torch._dynamo.reset()
        value = torch.randn(4, 6, dtype=torch.float64)
        plain = value.clone().requires_grad_()
        x = weft.distribute_tensor(value, axes, mesh).requires_grad_()

        def loss_of(x):
            return function(x).square().sum()

        torch.manual_seed(1)
        expected = loss_of(plain)
        torch.manual_seed(1)
        with weft.random_mode("replay"):
            loss = torch.compile(loss_of, backend="aot_eager", fullgraph=True)(x)
        expected.backward()
        loss.backward()
        same(loss, expected, f"{axes}")
        same(x.grad, plain.grad, f"gradient, {axes}")
        assert weft.layout_of(x.grad) == weft.layout_of(x), axes


def compiled_ops(world, ops):
    with recorded():
        return run_cases({name: lambda f=f: compiled(meshes(world)[0], f) for name, f in globals()[ops].items()})


def compiled_in_another_order(world):
    """Gathers, sums, exchanges of rows and all-to-alls of a mesh that lists its ranks backwards."""
    mesh = weft.DeviceMesh((world,), ("a",), devices=list(range(world))[::-1], device_type="cpu")
    ops = {name: {**OPS, **MORE}[name] for name in ("conv", "cross_entropy", "sort", "writes", "roll")}
    with recorded():
        return run_cases({"ops": lambda: [compiled(mesh, f) for f in ops.values()]})


results = on_worlds(compiled_ops, 2, args=("OPS",), timeout=240)
more = on_worlds(compiled_ops, 2, 3, args=("MORE",), timeout=560)
uneven = on_worlds(compiled_ops, 3, args=("OPS",), timeout=240)


reordered = on_worlds(compiled_in_another_order, 3, timeout=240)


@pytest.mark.parametrize("name", OPS)
def test_op(results, name):
    check(results, name)


def test_ranks_in_another_order(reordered):
    check(reordered, "ops")


@pytest.mark.long
@pytest.mark.parametrize("name", OPS)
def test_uneven(uneven, name):
    check(uneven, name)


@pytest.mark.long
@pytest.mark.parametrize("name", MORE)
def test_more(more, name):
    check(more, name)
