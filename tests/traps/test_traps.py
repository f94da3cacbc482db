"""One test for each trap that a tensor without storage, out of torch's own tree, is known to fall into."""

import copy
import functools
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
import weft
from support.cases import check, every_layout, meshes, run_cases, same, whole
from torch import nn
from torch.utils.checkpoint import checkpoint

X = torch.linspace(-2, 2, 35).view(7, 5)


def split(mesh, t=X, axes=("a", None)):
    return weft.distribute_tensor(t, axes, mesh)


def net(mesh=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    layouts = {"0/weight": ("a", None), "0/bias": ("a",), "2/weight": (None, "a")}
    return weft.distribute_module(model, layouts, mesh=mesh) if mesh else model


def set_data(mesh):
    """Core copies the fields of one implementation over another's, which must be of its class."""
    x, plain, view = split(mesh), torch.ones(7, 5), torch.ones(7, 5)[1:]
    with pytest.raises(ValueError, match="view"):
        view.data = x
    assert torch.equal(view + 1, torch.full((6, 5), 2.0)) and not weft.is_sharded(view)
    x.data = plain
    same(x, plain)
    assert weft.layout_of(x).axes == ("a", None)
    plain.data = x
    assert weft.is_sharded(plain)
    x.data = split(mesh, X + 1, (None, "a"))
    same(x, X + 1)
    assert weft.layout_of(x).axes == (None, "a")


def not_ours(mesh):
    """Readers of a sharded tensor refuse any other, whatever its keys."""
    for other in (torch.ones(3), torch.ones(3).to_sparse(), torch.ones(3, device="meta"), nn.Parameter(torch.ones(2))):
        assert not weft.is_sharded(other)
        with pytest.raises(ValueError):
            weft.layout_of(other)
    with torch.no_grad():
        assert weft.is_sharded(split(mesh).detach()) and weft.is_sharded(nn.Parameter(split(mesh)))


def conj_and_neg(mesh):
    z = torch.complex(X, X.flip(0))
    for layout in every_layout(mesh, 2, partial=False):
        s = weft.distribute_tensor(z, layout)
        for f in (
            lambda t: t.conj(),
            lambda t: t.conj().imag,
            lambda t: t.conj().imag * 2,
            lambda t: t.conj() @ t.t(),
            lambda t: t.conj()[2:5],
            lambda t: t.conj().resolve_conj(),
            lambda t: t.mH,
            lambda t: torch.view_as_real(t.conj().resolve_conj()),
        ):
            want, got = f(z), f(s)
            same(got.resolve_conj().resolve_neg(), want.resolve_conj().resolve_neg())


def same_wrapper(mesh):
    x = split(mesh, X.clone())
    for write in (
        lambda t: t.add_(1),
        lambda t: t.mul_(t),
        lambda t: t.zero_(),
        lambda t: t.copy_(X),
        lambda t: t.clamp_(min=0),
        lambda t: t.masked_fill_(X > 1, 3.0),
        lambda t: t.normal_(),
        lambda t: t.t_(),
        lambda t: t.unsqueeze_(0),
        lambda t: t.squeeze_(0),
        lambda t: torch.relu_(t),
        lambda t: torch.add(t, 1, out=t),
        lambda t: t.requires_grad_(),
    ):
        before = x._version
        assert write(x) is x
        assert x._version >= before
    y = split(mesh, X.clone())
    alias = y
    y += 1
    assert y is alias


def foreach_versions(mesh):
    """An in-place op on a list bumps each version: stale saved tensors are caught."""
    x = split(mesh).requires_grad_()
    for write in (
        lambda ts: torch._foreach_mul_(ts, 2),
        lambda ts: torch._foreach_add_(ts, ts),
        lambda ts: torch._foreach_zero_(ts),
        lambda ts: torch._foreach_copy_(ts, [X, X]),
    ):
        a, b = x * 1, x * 2
        out = a.square().sum() + b.exp().sum()
        version = a._version, b._version
        with torch.no_grad():
            write([a, b])
        assert a._version > version[0] and b._version > version[1]
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()


def inference(mesh):
    model, plain = net(mesh), net()
    x = split(mesh)
    with torch.inference_mode():
        same(model(x), plain(X))
        for alias in (x.detach(), x.data, x.t(), x[2:5], model[0].weight.t(), model[0].weight.detach(), x.view(-1)):
            assert not alias.is_inference()
        y = x * 2
        assert y.is_inference() and y.detach().is_inference() and y[1:].is_inference()
        y[2:5] = 0
        y.t().add_(1)
        tokens = split(mesh, torch.zeros(7, 1, dtype=torch.long))
        for _ in range(3):  # as generate() does
            logits = model(x + tokens[:, -1:])
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    want = (X * 2).index_fill_(0, torch.tensor([2, 3, 4]), 0) + 1
    same(y, want)
    assert tokens.shape == (7, 4) and whole(tokens).max() < 3
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        y.add_(1)
    escaped = x.t()
    escaped.add_(0)
    model(x).sum().backward()
    assert model[0].weight.grad is not None


def into_plain(mesh):
    """A write into a plain tensor lands whole, on every rank."""
    for layout in every_layout(mesh, 2):
        s = weft.distribute_tensor(X, layout)
        plain = torch.ones(7, 5)
        kept = plain
        plain += s
        assert plain is kept and not weft.is_sharded(plain)
        same(plain, X + 1)
        plain[:2] = s[:2]
        same(plain[:2], X[:2])
        plain.copy_(s)
        same(plain, X)
        plain.t().mul_(s.t())
        same(plain, X * X)
        torch.add(s, 1, out=plain)
        same(plain, X + 1)
        torch._foreach_add_([plain], [s])
        same(plain, 2 * X + 1)
        plain.index_put_((torch.tensor([0, 3]),), s[:2])
        same(plain[[0, 3]], X[:2])


def no_memory(mesh):
    x = split(mesh)
    for call, word in (
        (lambda: pickle.dumps(x), "full_tensor"),
        (lambda: x.untyped_storage(), "full_tensor"),
        (lambda: x.resize_(3, 3), "cannot be resized"),
        (lambda: x.data_ptr(), "full_tensor"),
    ):
        with pytest.raises((RuntimeError, NotImplementedError), match=word):
            call()
    assert "sharded" in repr(x) and torch.ops.weft.type_str(x) in str(x)


def higher_derivatives(mesh):
    found = []
    for p in (X, split(mesh), split(mesh, X, (None, "a"))):
        x = p.detach().requires_grad_()
        (g,) = torch.autograd.grad((x.sin() * x).sum(), x, create_graph=True)
        found += torch.autograd.grad(g.square().sum(), x)
    same(found[1], found[0])
    same(found[2], found[0])


def checkpoints(mesh):
    for reentrant in (True, False):
        model, plain = net(mesh), net()
        x, y = split(mesh).requires_grad_(), X.clone().requires_grad_()
        checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
        plain(y).square().sum().backward()
        same(x.grad, y.grad)
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            same(p.grad, q.grad)


def autocast(mesh):
    model, plain = net(mesh), net()
    with torch.autocast("cpu", torch.bfloat16):
        out, want = model(split(mesh)), plain(X)
    assert out.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(whole(out), want.detach(), rtol=0.05, atol=0.02)
    out.float().sum().backward()
    assert all(
        p.grad.dtype == torch.float32 and weft.layout_of(p.grad) == weft.layout_of(p) for p in model.parameters()
    )


def transforms(mesh):
    w = torch.linspace(-1, 1, 5)
    s = split(mesh)
    same(torch.vmap(lambda r: r * w)(s), X * w)
    out, tangent = torch.func.jvp(torch.sin, (s,), (torch.ones_like(s),))
    same(out, X.sin())
    same(tangent, X.cos())
    same(torch.func.grad(lambda t: t.square().sum())(s), 2 * X)


def copies(mesh):
    model, plain = net(mesh), net()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.zero_()
    same(twin[0].weight, plain[0].weight)
    twin.load_state_dict(model.state_dict())
    assert float(twin[0].weight.abs().sum()) == 0
    twin.load_state_dict(plain.state_dict())  # plain values into sharded variables
    same(twin[2].weight, plain[2].weight)
    assert weft.layout_of(twin[2].weight).axes == (None, "a")
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.double().float()
    assert weft.is_sharded(twin[0].weight)


class Net(nn.Module):
    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        h = x @ w
        if h.size(0) > 3:
            h = h.relu() + 1
        for i in range(2):
            h = h * (i + 1) + h.mean()
        return h


def torchscript(mesh):
    w = torch.linspace(-1, 1, 20).view(5, 4)
    want = Net()(X, w)
    for f in (torch.jit.script(Net()), torch.jit.trace(Net(), (X, w))):
        for _ in range(4):  # the profiling executor optimises from the second run on
            x = split(mesh).requires_grad_()
            out = f(x, split(mesh, w, (None, "a")))
            same(out, want)
            out.sum().backward()
            assert weft.layout_of(x.grad) == weft.layout_of(x)


def later_ops(mesh):
    """Ops registered after the library was loaded: gathered, right, differentiable; an error in strict mode."""
    with torch.library._scoped_library("weft_trap", "DEF") as lib:
        lib.define("cube(Tensor x) -> Tensor")
        lib.define("both(Tensor x) -> Tensor")
        lib.impl("cube", lambda x: x**3, "CPU")
        lib.impl("both", lambda x: (x * 2).sum(1), "CompositeImplicitAutograd")
        torch.library.register_autograd(
            "weft_trap::cube",
            lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2,
            setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
            lib=lib,
        )
        x = split(mesh).requires_grad_()
        y = torch.ops.weft_trap.cube(x)
        same(y, X**3)
        y.sum().backward()
        same(x.grad, 3 * X**2)
        assert weft.layout_of(x.grad) == weft.layout_of(x)
        same(torch.ops.weft_trap.both(x), (X * 2).sum(1))
        with weft.strict(True):
            with pytest.raises((NotImplementedError, RuntimeError), match="cube"):
                torch.ops.weft_trap.cube(x)
            same(x * 2, X * 2)
        same(torch.ops.weft_trap.cube(x), X**3)


def branching_composites(mesh):
    """Composite ops that choose another way for tensors they take for subclasses."""
    s = split(mesh)
    for f in (
        lambda t: torch.nn.functional.binary_cross_entropy_with_logits(t, t.sigmoid()),
        lambda t: torch.nn.functional.pad(t, (1, 2)),
        lambda t: torch.linalg.vector_norm(t, 3),
        lambda t: torch.where(t > 0, t, 0),
        lambda t: t.index_fill(0, torch.tensor([1]), 2.0),
        lambda t: torch.nn.functional.kl_div(t, t.softmax(1), reduction="batchmean"),
        lambda t: torch.corrcoef(t),
        lambda t: torch.trapezoid(t),
        lambda t: torch.block_diag(t, t),
        lambda t: torch.nn.functional.cosine_similarity(t, t + 1),
        lambda t: torch.cdist(t, t),
        lambda t: torch.tensordot(t, t, dims=([1], [1])),
        lambda t: torch.einsum("ij,kj->ik", t, t),
        lambda t: torch.diff(t, dim=0),
        lambda t: torch.gradient(t)[0],
        lambda t: t.masked_select(t > 0),
    ):
        same(f(s), f(X))


CASES = {
    f.__name__: f
    for f in (
        set_data,
        not_ours,
        conj_and_neg,
        same_wrapper,
        foreach_versions,
        inference,
        into_plain,
        no_memory,
        higher_derivatives,
        checkpoints,
        autocast,
        transforms,
        copies,
        torchscript,
        later_ops,
        branching_composites,
    )
}


def every_case(world):
    mesh = meshes(world)[-1]
    return run_cases({name: functools.partial(f, mesh) for name, f in CASES.items()})


@pytest.fixture(scope="module")
def results(ranks2):
    return ranks2(every_case, 2, timeout=100)


@pytest.mark.parametrize("name", CASES)
def test_trap(results, name):
    check(results, name)


SECOND_LOAD = """
import sys, torch, weft
torch.ops.load_library(str(weft.library_path()))  # the same file again: nothing happens
mesh = weft.DeviceMesh((1,), ("a",), device_type="cpu")
x = weft.distribute_tensor(torch.ones(4), ("a",), mesh)
assert float((x + 1).sum()) == 8
try:
    torch.ops.load_library(sys.argv[1])
except Exception as e:
    print("refused at load:", str(e)[:300])
assert float((x * 3).sum()) == 12
print("alive")
"""


def test_library_loaded_twice(tmp_path):
    """The same file again is harmless; a second copy of it never ends the process, and the first goes on."""
    second = tmp_path / "libweft_copy.so"
    shutil.copy(weft.library_path(), second)
    run = subprocess.run(
        [sys.executable, "-c", SECOND_LOAD, str(second)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert run.returncode == 0 and "alive" in run.stdout, f"{run.returncode}\n{run.stdout}\n{run.stderr}"
