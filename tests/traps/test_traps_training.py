"""Gradients reduced once, random ops, ops of one's own, what autograd keeps, and complaints about these."""

import copy
import io
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import weft
from torch import nn
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).parent))

from everywhere import cases_in, everywhere, lay  # noqa: E402
from support.cases import cases_on_worlds, every_layout, same, same_gradients, whole  # noqa: E402

torch.manual_seed(6)
X = torch.randn(7, 5).mul(64).round() / 64  # sums of pending parts are exact


def pair(mesh, make, layouts=None):
    """The module plain and sharded, with the same values."""
    torch.manual_seed(1)
    plain = make()
    return plain, weft.distribute_module(copy.deepcopy(plain), layouts or {}, mesh=mesh)


def norm_net():
    return nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))


def trap24_norm_gradients_under_a_split_sequence(mesh):
    """Replicated parameters whose gradients are pending sums; AdamW reads each reduced. That each travels once is in
    tests/ranks/test_optim.py (reduced_once)."""
    for dim in (0, 1):
        plain, model = pair(mesh, norm_net)
        optimizers = [torch.optim.AdamW(m.parameters(), 0.1) for m in (plain, model)]
        x = torch.randn(3, 7, 5)
        axes = [None] * 3
        axes[dim] = mesh.axis_names[0]
        for _ in range(3):
            plain(x).square().mean().backward()
            model(weft.distribute_tensor(x, axes, mesh)).square().mean().backward()
            same_gradients(model, plain)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            same(p, q)


def trap30_shapes_of_ops_of_ones_own(mesh):
    """Uneven outputs: a custom op gathers unless a rule is told; a shape is never guessed from a part."""
    with torch.library._scoped_library("weft_trap30", "DEF") as lib:
        lib.define("pairs(Tensor x) -> Tensor")
        lib.impl("pairs", lambda x: x[: x.shape[0] // 2 * 2].reshape(-1, 2 * x.shape[1]).clone(), "CPU")
        lib.impl("pairs", lambda x: x.new_empty(x.shape[0] // 2, 2 * x.shape[1]), "Meta")
        everywhere(mesh, torch.ops.weft_trap30.pairs, X, gradient=False)
    for sizes in ([3] * mesh.size, [2] * (mesh.size - 1) + [1]):  # parts that a function made of local ones
        mine = sizes[weft.rank()]
        got = weft.from_local(torch.full((mine, 2), 1.0 + weft.rank()), (mesh.axis_names, None), device_mesh=mesh)
        want = torch.cat([torch.full((n, 2), 1.0 + r) for r, n in enumerate(sizes)])
        same(got, want)
        same(got * 2 + got.mean(0), want * 2 + want.mean(0))


def trap31_random_parts_differ_and_replicas_agree(mesh):
    """One value per global index, on every layout: tests/ranks/test_random.py has every op and one rank."""
    for draw in (
        torch.rand_like,
        torch.randn_like,
        lambda t: F.dropout(t + 2, 0.5),
        lambda t: nn.init.trunc_normal_(t * 1),
    ):
        found = []
        for layout in every_layout(mesh, 2, partial=False):
            torch.manual_seed(3)
            found.append(whole(draw(weft.distribute_tensor(torch.zeros(8, 6), layout))))
        assert all(torch.equal(found[0], f) for f in found)
    torch.manual_seed(3)
    rows = whole(torch.randn_like(weft.distribute_tensor(torch.zeros(8, 6), (mesh.axis_names, None), mesh)))
    assert rows.unique().numel() == rows.numel()  # no part repeats another's
    replicated = torch.randn_like(weft.distribute_tensor(torch.zeros(8, 6), (None, None), mesh))
    parts = weft.from_local(weft.local_tensor(replicated).unsqueeze(0), (mesh.axis_names, None, None), None, mesh)
    for part in whole(parts):
        assert torch.equal(part, weft.local_tensor(replicated))


def trap33_what_autograd_keeps(mesh):
    """More of it in test_traps.py (higher_derivatives, checkpoints, transforms, copies, inference)."""
    # Sums in another order: many digits of a float would go.
    a, b = torch.randn(3, 7, 5, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)

    def twice(x, y):
        out = torch.einsum("bij,bjk->bik", x, y).sin().sum()
        if not x.requires_grad:
            return out
        grads = torch.autograd.grad(out, (x, y), create_graph=True)
        return sum(g.square().sum() for g in grads)

    everywhere(mesh, twice, a, b, pending=False)
    everywhere(mesh, lambda x, y: torch.einsum("bij,bjk->bik", x, y), a, b)
    everywhere(mesh, lambda x: checkpoint(lambda t: (t.exp() @ t.t()).sum(1), x, use_reentrant=False), X)
    for layout in every_layout(mesh, 2):
        x = lay(X, layout)
        same(torch.func.grad(lambda t: (t.sin() ** 2).sum())(x), torch.func.grad(lambda t: (t.sin() ** 2).sum())(X))
        value, tangent = torch.func.jvp(lambda t: t.softmax(0) @ t.t(), (x,), (torch.ones_like(x),))
        want = torch.func.jvp(lambda t: t.softmax(0) @ t.t(), (X,), (torch.ones_like(X),))
        same(value, want[0], f"{layout}")
        same(tangent, want[1], f"{layout}")
        same(copy.deepcopy(x), X)
        saved = io.BytesIO()
        torch.save(weft.full_tensor(x), saved)
        saved.seek(0)
        assert torch.equal(torch.load(saved), X)
        with torch.inference_mode():
            same(F.layer_norm(x, (5,)).softmax(1).chunk(2)[1], F.layer_norm(X, (5,)).softmax(1).chunk(2)[1])


def trap36_averages(mesh):
    """Pending averages over uneven values, in dtypes whose reductions c10d lacks or rounds."""
    layouts = [weft.TensorLayout((None, None), mesh, {axis: "avg"}) for axis in mesh.axis_names]
    for layout in layouts:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64):
            x = torch.arange(12.0).view(4, 3).to(dtype)
            if dtype.is_floating_point:
                same(lay(x, layout), x, f"{layout} {dtype}")
            same(weft.from_local(x, layout), x, f"equal parts, {layout} {dtype}")
        split = weft.distribute_tensor(lay(X, layout), (mesh.axis_names, None), mesh)
        same(split, X)
        (axis,) = layout.partial
        parts = weft.from_local(X * mesh.coordinates[axis], layout)
        same(parts, X * (mesh.axis_size(axis) - 1) / 2)


def complaint19_branches_on_values(mesh):
    """Every rank goes the same way."""
    for layout in every_layout(mesh, 2):
        x = lay(X, layout)
        assert bool((x > 100).any()) is False and bool((x == x).all()) and int((x > 0).sum()) == int((X > 0).sum())
        assert x.sum().item() == X.sum().item() and (x.max() > 0) and len(x) == 7
        assert [float(v) for v in x[3]] == X[3].tolist()


def complaint26_reduced_once(mesh):
    """A replicated parameter under a split batch: its gradient is that of the whole batch, not a multiple."""
    for layouts in ({}, {"1/weight": (mesh.axis_names[-1], None)}, {"1/weight": (None, mesh.axis_names[-1])}):
        plain, model = pair(mesh, norm_net, layouts)
        for axis in (*mesh.axis_names, mesh.axis_names):
            for loss in (lambda y: y.sum(), lambda y: y.mean(), lambda y: F.mse_loss(y, torch.ones(7, 2))):
                for m in (plain, model):
                    m.zero_grad()
                loss(plain(X)).backward()
                loss(model(weft.distribute_tensor(X, (axis, None), mesh))).backward()
                same_gradients(model, plain)


def complaint26_tied_weights(mesh):
    def tied():
        model = nn.ModuleList([nn.Embedding(9, 5), nn.Linear(5, 9, bias=False)])
        model[1].weight = model[0].weight
        return model

    ids = torch.tensor([[0, 8, 3], [3, 3, 1], [7, 0, 2]])
    for axes in ((None, None), (mesh.axis_names[-1], None), (None, mesh.axis_names[-1])):
        plain, model = pair(mesh, tied, {"0/weight": axes})
        assert model[0].weight is model[1].weight
        for m, tokens in ((plain, ids), (model, weft.distribute_tensor(ids, (mesh.axis_names[0], None), mesh))):
            F.cross_entropy(m[1](m[0](tokens)).flatten(0, 1), ids.flatten()).backward()
        same(model[0].weight.grad, plain[0].weight.grad)


def complaint27_equal_seeds_do_not_give_equal_parts(mesh):
    """Initialisation and dropout: as one process would draw, so no two parts are alike."""
    layer = weft.distribute_module(nn.Linear(6, 8, device="meta"), {"weight": (mesh.axis_names, None)}, mesh=mesh)
    weight = whole(layer.weight)
    assert weight.unique(dim=0).shape[0] == 8
    mask = whole(F.dropout(weft.distribute_tensor(torch.ones(64, 8), (mesh.axis_names, None), mesh), 0.5))
    parts = mask.chunk(mesh.size)
    assert not any(torch.equal(parts[0], p) for p in parts[1:])


CASES = cases_in(globals())

results, test_trap = cases_on_worlds(globals(), 2, 4, mesh=-1, timeout=200)
