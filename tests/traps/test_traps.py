"""One test for each trap that a tensor without storage, out of torch's own tree, is known to fall into."""

import pickle

import pytest
import torch
import weft
from support.cases import cases_on_worlds, every_layout, same, whole
from torch import nn
from traps.samples import X, net, split


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
    assert y.detach().is_inference() and y.t().is_inference() and y[1:].is_inference()  # outside of the mode, too
    for write in (y.add_, y[0].add_, lambda _: y.__setitem__(0, 1)):
        with pytest.raises(RuntimeError, match="[Ii]nference"):
            write(1)
    weight = torch.ones_like(y, requires_grad=True)
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        (weight.t() * y.t()).sum().backward()
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
    )
}


results, test_trap = cases_on_worlds(globals(), 2, mesh=-1, timeout=100)
