"""Pending sums, indexing, layers and layouts."""

import functools
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import weft

sys.path.insert(0, str(Path(__file__).parent))

from everywhere import cases_in, everywhere, lay  # noqa: E402
from support.cases import cases_on_worlds, same  # noqa: E402

torch.manual_seed(4)
X = torch.randn(7, 5).mul(64).round() / 64  # sums of pending parts are exact


def trap09_pending_sum_read_by_anything(mesh):
    for f in (
        lambda x: x + 1,
        lambda x: -5 * x == 2 * x,
        lambda x: x * x,
        lambda x: x.abs(),
        lambda x: x.relu(),
        lambda x: x.norm(),
        lambda x: x.max(),
        lambda x: x.argmax(),
        lambda x: x.eq(x),
        lambda x: torch.where(x > 0, x, 1.0),
        lambda x: x.masked_fill(x > 0, 2.0),
        lambda x: torch.lerp(x, x * 2, 0.3),
        lambda x: x.double(),
        lambda x: x @ x.t(),
        lambda x: x.any(),
        lambda x: x.clamp(max=0.5),
        lambda x: 1 - x,
    ):
        everywhere(mesh, f, X)


def trap10_pending_max_and_average(mesh):
    for reduction in ("max", "min", "avg"):
        layout = weft.TensorLayout((None, None), mesh, {"a": reduction})
        for f in (
            lambda x: x * -1,
            lambda x: x.sum(),
            lambda x: x**2,
            lambda x: x + 1,
            lambda x: x.t(),
            lambda x: x / 2,
        ):
            same(f(lay(X, layout)), f(X), reduction)


def trap11_in_place_and_out_of_pending_sums(mesh):
    pending = weft.TensorLayout((None, None), mesh, {"a": "sum"})
    for write in (lambda x: x.clamp_(min=0), lambda x: x.add_(1), lambda x: x.add_(X), lambda x: x.mul_(x)):
        x = lay(X, pending)
        same(write(x), write(X.clone()))
    x, y = weft.distribute_tensor(X.clone(), ("a", None), mesh), weft.distribute_tensor(X, (None, "a"), mesh)
    same(x.add_(y), 2 * X)
    assert weft.layout_of(x).axes == ("a", None)
    same(torch.mul(lay(X, pending), 3, out=x), 3 * X)


def trap12_values_read_in_python(mesh):
    for layout in (weft.TensorLayout((None,), mesh, {"a": "sum"}), weft.TensorLayout(("a",), mesh)):
        x = lay(torch.tensor([3.0]), layout)
        assert x.item() == 3 and bool(x) and float(x) == 3 and int(x.long()) == 3
        assert torch.equal(x, torch.tensor([3.0])) and not torch.equal(x, x + 1) and torch.allclose(x, x)


def trap14_indexing(mesh):
    rows, mask = torch.tensor([5, 0, 5]), X > 0
    everywhere(mesh, lambda x: (x[rows], x[rows, 1:4].sum(), x[:, rows[1:2]]), X)
    everywhere(mesh, lambda x: (x[mask], x[mask.any(1)]), X)
    everywhere(mesh, lambda x, v: x.index_put((rows,), v, accumulate=True), X, torch.randn(3, 5))
    everywhere(mesh, lambda x, v: x.index_put((rows[:2],), v[:2]), X, torch.randn(3, 5))
    everywhere(mesh, lambda x, i: x[i], X, rows, pending=False)
    everywhere(mesh, lambda x, m: x.masked_fill(m, 1.0), X, mask)


def trap15_views_of_split_dimensions(mesh):
    x = torch.randn(4, 7, 6)
    for f in (
        lambda t: t.view(28, 6),
        lambda t: t.flatten(),
        lambda t: t.view(4, 42),
        lambda t: t.unflatten(2, (2, 3)),
        lambda t: t.reshape(2, 14, 6),
        lambda t: t.transpose(0, 1).reshape(28, 6),
        lambda t: t.flatten().unflatten(0, (4, 7, 6)),
    ):
        everywhere(mesh, lambda t, f=f: f(t) * 2, x)


def trap16_squeeze_and_expand(mesh):
    n = mesh.shape[0]
    everywhere(mesh, lambda x: (x.squeeze() * 1, x.squeeze(0) * 1), torch.randn(n, 1, 3))
    everywhere(mesh, lambda x: x.expand(4, 3) * torch.ones(4, 3), torch.randn(1, 3))


def complaint_cat_with_an_empty_tensor(mesh):
    everywhere(mesh, lambda x, e: (torch.cat([x, e]), torch.cat([e, x], 0)), X, torch.randn(0, 5))
    everywhere(mesh, lambda x, y: (torch.cat([x, y], 1), torch.stack([x, y])), X, X + 1)
    everywhere(mesh, lambda x: torch.cat([torch.empty(0), x]), X)


def trap22_bias_is_added_once(mesh):
    everywhere(mesh, lambda x, w, b: F.linear(x, w, b), X, torch.randn(4, 5), torch.randn(4))
    everywhere(mesh, lambda x, w, b: torch.addmm(b, x, w, beta=2), X, torch.randn(5, 4), torch.randn(4))


def trap23_norms(mesh):
    w, b = torch.rand(6), torch.randn(6)
    everywhere(mesh, lambda x, w, b: F.layer_norm(x, (6,), w, b), torch.randn(7, 6), w, b)
    everywhere(mesh, lambda x, w: F.rms_norm(x, (6,), w), torch.randn(7, 6), w)
    everywhere(mesh, lambda x, w, b: F.batch_norm(x, None, None, w, b, True), torch.randn(7, 6), w, b)
    everywhere(mesh, lambda x, w, b: F.group_norm(x, 3, w, b), torch.randn(5, 6, 4), w, b)


def trap25_norm_of_gradients(mesh):
    for norm in (1.0, 2.0, float("inf")):
        for axes in (("a", None), (None, "a"), (None, None)):
            plain = [X.clone().requires_grad_(), X[:2].clone().requires_grad_()]
            shards = [weft.distribute_tensor(p.detach(), axes, mesh).requires_grad_() for p in plain]
            totals = []
            for ps in (plain, shards):
                sum((p**3).sum() for p in ps).backward()
                totals.append(torch.nn.utils.clip_grad_norm_(ps, 0.5, norm))
            same(totals[1], totals[0])
            for p, s in zip(plain, shards, strict=True):
                same(s.grad, p.grad)


def trap26_convolutions(mesh):
    random = functools.partial(torch.randn, dtype=torch.float64)  # parts cancel: many digits of a float would go
    everywhere(mesh, lambda x, w: F.conv2d(x, w, None, 2, 3), random(2, 3, 9, 8), random(4, 3, 7, 7))
    everywhere(mesh, lambda x, w: F.conv2d(x, w, padding=1, groups=2), random(3, 4, 5, 6), random(6, 2, 3, 3))
    everywhere(mesh, lambda x, w: F.conv2d(x, w, padding=1), random(3, 5, 6), random(4, 3, 3, 3))


def trap27_two_lookups_in_flight(mesh):
    a, b = torch.tensor([6, 0, 3]), torch.tensor([[1, 6], [5, 5]])
    everywhere(mesh, lambda w: F.embedding(a, w).sum() * F.embedding(b, w), X)


def trap28_plans_do_not_mix(mesh):
    x, t = weft.distribute_tensor(X, ("a", None), mesh), torch.zeros(7, 5)
    same(x.clamp(min=t), X.clamp(min=t))
    same(x.clamp(max=t), X.clamp(max=t))
    for dtype in (torch.float64, torch.float32, torch.int64):
        assert x.sum(0, dtype=dtype).dtype == torch.ones_like(x, dtype=dtype).dtype == dtype
    x * 0.5
    stored = torch.ops.weft.plan_counts()[1]
    for step in range(5):
        same(x * (step + 0.25), X * (step + 0.25))
    assert torch.ops.weft.plan_counts()[1] == stored


def trap29_sizes_and_strides(mesh):
    w = torch.randn(4, 5)
    everywhere(mesh, lambda x, w: F.linear(x, w), X[0], w)
    everywhere(mesh, lambda x: (x.quantile(0.3, 0), x.quantile(torch.tensor([0.1, 0.9]))), X)
    for layout in (("a", None), (None, "a")):
        x = weft.distribute_tensor(X, layout, mesh)
        for f in (lambda t: t.t(), lambda t: t[1:3], lambda t: t.t() + 1, lambda t: t.unfold(0, 3, 2)):
            assert (f(x).shape, f(x).stride()) == (f(X).shape, f(X).stride())


def trap34_axis_of_one(mesh):
    thin = weft.DeviceMesh((1, *mesh.shape), ("one", "a"), device_type="cpu")
    x = lay(X, weft.TensorLayout(("one", "a"), thin))
    same(x.softmax(0) @ x.t(), X.softmax(0) @ X.t())
    y = weft.distribute_tensor(X, ("one", None), thin)
    with weft.trace() as rows:
        weft.full_tensor(y.sum(0))
    assert len(rows) == 0, str(rows)


CASES = cases_in(globals())

results, test_trap = cases_on_worlds(globals(), 2, 3, timeout=200)
