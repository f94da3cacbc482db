"""Traps of what programs do with tensors as a whole: checkpoints, autocast, transforms, copies, scripts, later ops."""

import copy
import os
import shutil
import subprocess
import sys

import pytest
import torch
import weft
from support.cases import cases_on_worlds, same, whole
from torch import nn
from torch.utils.checkpoint import checkpoint
from traps.samples import X, net, split


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
        checkpoints,
        autocast,
        transforms,
        copies,
        torchscript,
        later_ops,
        branching_composites,
    )
}


results, test_trap = cases_on_worlds(globals(), 2, mesh=-1, timeout=100)


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
