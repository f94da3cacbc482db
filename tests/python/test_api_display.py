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
    for part in ("[0., 1., 2.]", "(f32[2@m, 3], mesh (m=1);"):
        assert part in text
    assert "requires_grad=True" in repr(x.requires_grad_())
    assert "grad_fn=<MulBackward0>" in repr(x * 2)
    assert "Parameter containing:\nsharded" in repr(torch.nn.Parameter(x.detach()))
    assert repr(torch.ones(2)) == "tensor([1., 1.])", "plain tensors print as ever"


def print_alone():
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    x = weft.distribute_tensor(torch.arange(6.0).view(2, 3), ("m", None), mesh)
    with weft.trace() as trace:
        text = repr(x) if weft.rank() == 1 else ""
    return text, trace.count()


def test_repr_runs_no_collective_and_shows_the_local_part(ranks2):
    (_, zero), (text, one) = ranks2(print_alone)
    assert zero == one == 0
    assert "[3., 4., 5.]" in text and "[0., 1., 2.]" not in text
    assert "rank 1's part, of shape (1, 3)" in text


def print_pending():
    """Prints on rank 1 alone; 77 and 154 are values that no text may show."""
    mesh = weft.DeviceMesh((2,), ("model",), device_type="cpu")
    texts, collectives = [], 0
    for kind in ("sum", "avg", "max", "min", "product", "norm2"):
        part = torch.full((2, 3), 77.0, dtype=torch.float64)
        x = weft.from_local(part, weft.TensorLayout((None, None), mesh, {"model": kind}))
        with weft.trace() as trace:
            if weft.rank() == 1:
                torch.ops.weft.set_path(x, "a/b")
                texts.append([kind, repr(x), str(x), f"{x}", repr(x.requires_grad_()), repr([torch.nn.Parameter(x)])])
        collectives += trace.count()
    return texts, collectives


def test_repr_of_a_pending_reduction_shows_no_values(ranks2):
    (_, none), (texts, count) = ranks2(print_pending)
    assert len(texts) == 6 and none == count == 0
    for kind, *forms in texts:
        for text in forms:
            assert "77" not in text and "154" not in text, text
            assert f"(f64[2, 3]{{model: {kind}}}, mesh (model=2)" in text, text
        for text in forms[:3]:
            assert text.startswith(f"pending {kind} over model\n") and "path='a/b'" in text


def print_two_pending():
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
    layout = weft.TensorLayout((None,), mesh, {"data": "max", "model": "sum"})
    split = weft.TensorLayout(("data",), mesh, {"model": "sum"})
    return [repr(weft.from_local(torch.full((3,), 77.0), x)) for x in (layout, split)]


def test_repr_of_several_pending_reductions(ranks4):
    for both, split in ranks4(print_two_pending):
        assert both.startswith("pending max over data, sum over model\n") or both.startswith(
            "pending sum over model, max over data\n"
        )
        assert (
            split.startswith("pending sum over model\n")
            and "f32[6@data]{model: sum}" in split
            and "77" not in both + split
        )


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda x: x.data_ptr(), "data_ptr"),
        (lambda x: pickle.dumps(x), "pickle and copy.copy"),
        (lambda x: pickle.dumps(torch.nn.Parameter(x)), "pickle and copy.copy"),
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


def test_compile_is_refused_or_runs_right(x, request):
    if weft.compile_graphs(False):
        request.addfinalizer(weft.compile_graphs)

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
