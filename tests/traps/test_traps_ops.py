"""Complaints about single ops: those without a rule elsewhere, writes by index, plain tensors mixed in."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import weft
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from everywhere import cases_in, everywhere, lay  # noqa: E402
from support.cases import cases_on_worlds, every_layout, same, same_gradients  # noqa: E402

torch.manual_seed(7)
X = torch.randn(7, 5).mul(64).round() / 64  # sums of pending parts are exact
IMAGE = torch.randn(2, 3, 8, 6)


def complaint05_forward_without_a_rule_elsewhere(mesh):
    table = torch.randn(7, 3)
    for f in (
        lambda x: torch.addbmm(x[:2, :2], x.view(1, 7, 5)[:, :2], x.t().view(1, 5, 7)[..., :2]),
        lambda x: torch.cdist(x, x + 1),
        lambda x: torch.isin(x.round(), torch.tensor([0.0, 1.0])).float(),
        lambda x: x.masked_scatter(x > 0, torch.arange(35.0)),
        lambda x: x.put(torch.tensor([3, 34]), torch.tensor([1.0, 2.0])),
        lambda x: x.scatter_reduce(0, torch.tensor([[0, 1, 2, 0, 6]]), X[:1], "sum"),
        lambda x: torch.searchsorted(x.detach().sort(1)[0], X.contiguous()).float(),
        lambda x: x.unfold(0, 3, 2),
        lambda x: F.bilinear(x, x, torch.ones(2, 5, 5)),
        lambda x: F.embedding_bag(torch.tensor([[0, 6], [3, 3]]), x @ torch.ones(5, 3), mode="mean"),
        lambda x: x.repeat_interleave(torch.tensor([1, 0, 2, 1, 1, 3, 1]), 0),
        lambda x: F.pdist(x),
        lambda x: F.multi_margin_loss(x, torch.tensor([0, 1, 2, 3, 4, 0, 1])),
        lambda x: x.tensor_split(3)[1],
        lambda x: x.unbind(0)[4],
        lambda x: torch.tensordot(x, x, ([0], [0])),
        lambda x: torch.einsum("ij,ik,i->jk", x, x, x[:, 0]),
        lambda x: torch.kron(x, x[:2, :2]),
        lambda x: (x > 0).nonzero().float(),
        lambda x: torch.cartesian_prod(x[:, 0], x[0]),
        lambda x: x.trace(),
        lambda x: F.cosine_similarity(x @ table.t()[:, :5].t(), table[:1]),
    ):
        everywhere(mesh, f, X, gradient=False)


def complaint06_backward_without_a_rule_elsewhere(mesh):
    for f in (
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
        lambda x: F.adaptive_max_pool2d(x, (3, 2)),
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
        lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
        lambda x: F.unfold(x, 2),
        lambda x: F.instance_norm(x),
    ):
        everywhere(mesh, f, IMAGE, pending=False)
    for f in (
        F.hardswish,
        F.hardsigmoid,
        F.hardtanh,
        F.relu6,
        F.logsigmoid,
        F.softshrink,
        F.hardshrink,
        lambda x: F.prelu(x, torch.full((5,), 0.2)),
        lambda x: x.take(torch.tensor([0, 34, 3, 3])),
        lambda x: x.index_fill(0, torch.tensor([1, 6]), 2.0),
        lambda x: (x * 0).prod(1) + x[:, 1:].prod(1),
    ):
        everywhere(mesh, f, X)


def complaint07_plain_tensors_mixed_in(mesh):
    rows, mask = torch.tensor([6, 1]), X[0] > 0
    for f in (
        lambda x: x + torch.arange(5),
        lambda x: X @ x.t(),
        lambda x: torch.cat([X, x]),
        lambda x: torch.where(X > 0, x, X),
        lambda x: x[rows][:, mask],
        lambda x: torch.stack([x, X]).sum(0),
        lambda x: F.linear(x, X[:3], X[0, :3]),
        lambda x: x.new_ones(5) + x * torch.tensor(2.0),
        lambda x: torch.arange(x.shape[0]).unsqueeze(1) * x,
    ):
        everywhere(mesh, f, X)


def complaint08_some_variables_plain(mesh):
    """A sharded and a plain parameter in one optimizer and one norm; more in tests/ranks/test_optim.py."""
    for foreach in (True, False):
        found = []
        for sharded in (False, True):
            weight, scale = X.clone(), torch.linspace(0.5, 1, 5)
            if sharded:
                weight = weft.distribute_tensor(weight, (mesh.axis_names[0], None), mesh)
            parameters = [nn.Parameter(weight), nn.Parameter(scale)]
            optimizer = torch.optim.AdamW(parameters, 0.1, foreach=foreach)
            for _ in range(2):
                optimizer.zero_grad()
                (parameters[0] * parameters[1]).square().sum().backward()
                norm = nn.utils.clip_grad_norm_(parameters, 0.5, foreach=foreach)
                optimizer.step()
            found.append([norm, *parameters])
        for got, want in zip(found[1], found[0], strict=True):
            same(got, want)


def complaint17_writes_by_index(mesh):
    rows, mask, source = torch.tensor([5, 0, 5]), X > 0, torch.randn(3, 5)
    for write in (
        lambda x, v: x.index_put_((rows,), v, accumulate=True),
        lambda x, v: x.index_put_((rows[:2],), v[:2]),
        lambda x, v: x.index_put_((rows, torch.tensor([1, 4, 1])), v[:, 0], accumulate=True),
        lambda x, v: x.index_add_(0, rows, v),
        lambda x, v: x.index_copy_(0, rows[:2], v[:2]),
        lambda x, v: x.scatter_add_(0, rows.unsqueeze(1).expand(3, 5), v),
        lambda x, v: x.__setitem__(mask, 2.0),
        lambda x, v: x.__setitem__(rows[:2], v[:2]),
        lambda x, v: x.__setitem__((slice(None), torch.tensor([4, 0])), v[:1, :2]),
        lambda x, v: x.masked_fill_(mask, v.sum()),
    ):

        def written(x, v, write=write):
            y = x * 1
            write(y, v)
            return y.square()

        everywhere(mesh, written, X, source)


def complaint18_norms_of_pending_values(mesh):
    for p in (0.5, 1, 2, 3, float("inf"), -float("inf"), 0):
        everywhere(mesh, lambda x, p=p: torch.linalg.vector_norm(x, p), X, gradient=p != 0)
        everywhere(mesh, lambda x, p=p: torch.linalg.vector_norm(x, p, 0), X, gradient=p != 0)
    everywhere(mesh, lambda x: x / (x.norm() + 1e-6), X)
    everywhere(mesh, lambda x: torch.linalg.matrix_norm(x), X)
    for layout in every_layout(mesh, 2):
        norms = torch._foreach_norm([lay(X, layout), X[:2]])
        same(torch.stack(norms), torch.stack(torch._foreach_norm([X, X[:2]])))


def complaint30_recurrent_layers_and_routing(mesh):
    x = torch.randn(4, 5, 6)
    for make in (
        lambda: nn.LSTM(6, 4, 2, batch_first=True),
        lambda: nn.GRU(6, 4, batch_first=True, bidirectional=True),
    ):
        torch.manual_seed(2)
        plain = make()
        torch.manual_seed(2)
        model = weft.distribute_module(make(), {"weight_ih_l0": (mesh.axis_names[0], None)}, mesh=mesh)
        for axes in ((mesh.axis_names[0], None, None), (None, None, None)):
            for m, t in ((plain, x), (model, weft.distribute_tensor(x, axes, mesh))):
                m.zero_grad()
                out = m(t)[0]
                out.square().sum().backward()
            same(out, plain(x)[0])
            same_gradients(model, plain)

    # Forward runs whole, and keeps that in memory of its own; the gradient arrives split with the batch.
    x, head, whole, split = torch.randn(5, 64, 3), torch.randn(5, 64, 4), (None,) * 3, (None, mesh.axis_names[0], None)
    plain, model = nn.LSTM(3, 4), weft.distribute_module(nn.LSTM(3, 4), {}, mesh=mesh)
    model.load_state_dict(plain.state_dict())
    (plain(x)[0] * head).sum().backward()
    (model(weft.distribute_tensor(x, whole, mesh))[0] * weft.distribute_tensor(head, split, mesh)).sum().backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        same(p.grad, q.grad)

    def routed(tokens, gate, experts):
        weights, chosen = (tokens @ gate).softmax(1).topk(2, 1)
        out = torch.zeros_like(tokens)
        for e in range(3):
            rows, slot = torch.where(chosen == e)
            out = out.index_add(0, rows, (tokens[rows] @ experts[e]) * weights[rows, slot, None])
        return out

    everywhere(mesh, routed, torch.randn(7, 4), torch.randn(4, 3), torch.randn(3, 4, 4), pending=False)


CASES = cases_in(globals())

results, test_trap = cases_on_worlds(globals(), 2, 3, timeout=200)
