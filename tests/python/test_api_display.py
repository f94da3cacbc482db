"""Printing, and what a sharded tensor says where torch wants its memory."""

import copy
import pickle

import pytest
import torch
import weft


@pytest.fixture
def x():
    mesh = weft.DeviceMesh((1,), ("m",), device_type="cpu")
    return weft.distribute_tensor(torch.arange(6.0).view(2, 3), ("m", None), mesh)


def test_repr_shows_values_mesh_and_layout(x):
    text = repr(x)
    for part in ("[0., 1., 2.]", "shape=(2, 3)", "layout=(m, None)", "mesh (m=1)", "dtype=torch.float32"):
        assert part in text
    assert "requires_grad=True" in repr(x.requires_grad_())
    assert "grad_fn=<MulBackward0>" in repr(x * 2)
    assert "Parameter containing:\nsharded" in repr(torch.nn.Parameter(x.detach()))
    assert repr(torch.ones(2)) == "tensor([1., 1.])", "plain tensors print as ever"


def print_alone():
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    x = weft.distribute_tensor(torch.arange(6.0).view(2, 3), ("m", None), mesh)
    with weft.trace() as trace:
        pending = x.sum()
        text = (repr(x), repr(pending)) if weft.rank() == 1 else ("", "")
    return text, trace.count()


def test_repr_runs_no_collective_and_shows_the_local_part(ranks2):
    (_, zero), ((text, pending), one) = ranks2(print_alone)
    assert zero == one == 0
    assert "[3., 4., 5.]" in text and "[0., 1., 2.]" not in text
    assert "rank 1's part, of shape (1, 3)" in text
    assert "12." in pending and "pending" in pending and "partial{m: sum}" in pending


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda x: x.numpy(), "numpy"),
        (lambda x: __import__("numpy").asarray(x), "numpy"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.__dlpack__(), "dlpack"),
        (lambda x: torch.utils.dlpack.to_dlpack(x), "dlpack"),
        (lambda x: torch.from_dlpack(x), "dlpack"),
        (lambda x: pickle.dumps(x), "torch.save, pickle"),
        (lambda x: pickle.dumps(torch.nn.Parameter(x)), "torch.save, pickle"),
        (lambda x: torch.save({"x": x}, "/dev/null"), "torch.save, pickle"),
        (lambda x: x.untyped_storage(), "storage"),
    ],
)
def test_what_needs_memory_names_the_way_out(x, what, name):
    with pytest.raises(NotImplementedError, match=rf"{name}.*weft\.full_tensor.*weft\.local_tensor"):
        what(x)


def test_plain_tensors_keep_their_own_errors_and_results(x, tmp_path):
    plain = torch.arange(3.0)
    assert plain.tolist() == [0.0, 1.0, 2.0] and plain.numpy().sum() == 3.0
    with pytest.raises(RuntimeError, match="requires grad"):
        plain.requires_grad_().numpy()
    torch.save(weft.full_tensor(x), tmp_path / "x.pt")
    assert torch.equal(torch.load(tmp_path / "x.pt"), weft.full_tensor(x))


def test_plain_data_cannot_become_sharded(x):
    plain = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="incompatible tensor type"):
        plain.data = x
    assert plain.sum() == 6.0
    with pytest.raises(RuntimeError, match="incompatible tensor type|weft.distribute_tensor"):
        x.data = plain


def test_compile_is_refused_or_runs_right(x):
    @torch.compile(backend="eager", fullgraph=True)
    def double(t):
        return t * 2

    with pytest.raises(Exception, match=r"weft.*torch\.compile"):
        double(x)
    plain = torch.arange(3.0)
    assert torch.equal(double(plain), plain * 2)


def test_deepcopy_keeps_layout_and_path(x):
    torch.ops.weft.set_path(x, "a/b")
    y = copy.deepcopy(x)
    assert weft.layout_of(y) == weft.layout_of(x) and weft.path_of(y) == "a/b"
    y.zero_()
    assert weft.full_tensor(x).sum() == 15.0
    p = torch.nn.Parameter(x.detach())
    q = copy.deepcopy(p)
    assert isinstance(q, torch.nn.Parameter) and weft.layout_of(q) == weft.layout_of(x) and weft.path_of(q) == "a/b"
    pair = copy.deepcopy([p, p])
    assert pair[0] is pair[1] and pair[0] is not p
    leaf = x.detach().clone().requires_grad_()
    (leaf * leaf).sum().backward()
    twin = copy.deepcopy(leaf)
    assert twin.requires_grad and torch.equal(weft.full_tensor(twin.grad), weft.full_tensor(leaf.grad))
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(leaf * 2)
