"""Bad input: one clear error, the same on every rank, nothing changed, and nobody hangs."""

import pytest
import torch
import weft
from support.cases import check, run_cases


def mesh2():
    return weft.DeviceMesh((2,), ("a",), device_type="cpu")


def refuse(call, *words):
    """The error's message, which must hold these words."""
    with pytest.raises(ValueError) as info:
        call()
    text = str(info.value).split("\nException raised from")[0]
    for word in words:
        assert word in text, f"{word!r} is missing: {text}"
    assert len(text) < 1000, text
    return text


def unknown_axis():
    mesh = mesh2()
    texts = [refuse(lambda: weft.TensorLayout(("b", None), mesh), "b", "a=2")]
    texts.append(refuse(lambda: weft.distribute_tensor(torch.ones(4, 4), (None, "model"), mesh), "model"))
    texts.append(refuse(lambda: weft.LayoutMap(mesh, {"w": ("x", None)}), "x", "w"))
    texts.append(refuse(lambda: weft.TensorLayout((None,), mesh, partial={"c": "sum"}), "c"))
    texts.append(refuse(lambda: weft.TensorLayout((None,), mesh, partial={"a": "median"}), "median"))
    texts.append(refuse(lambda: mesh.axis_size("z"), "z"))
    return texts


def axis_twice():
    mesh = mesh2()
    return [
        refuse(lambda: weft.TensorLayout(("a", "a"), mesh), "a"),
        refuse(lambda: weft.TensorLayout((("a", "a"), None), mesh), "a"),
        refuse(lambda: weft.TensorLayout(("a", None), mesh, partial={"a": "sum"}), "a"),
        refuse(lambda: weft.LayoutMap(mesh, {"w": ("a", "a")}), "a"),
        refuse(lambda: weft.DeviceMesh((1, 2), ("a", "a"), device_type="cpu"), "a"),
    ]


def rank_differs():
    mesh = mesh2()
    layer = torch.nn.Linear(4, 4)
    texts = [
        refuse(lambda: weft.distribute_tensor(torch.ones(4, 4), ("a",), mesh), "2", "1"),
        refuse(lambda: weft.distribute_tensor(torch.tensor(1.0), ("a",), mesh)),
        refuse(lambda: weft.from_local(torch.ones(4), ("a", None), device_mesh=mesh)),
        refuse(lambda: weft.distribute_module(layer, {"weight": ("a",)}, mesh=mesh), "weight"),
        refuse(lambda: weft.distribute_module(layer, {".*": ("a", None)}, mesh=mesh), "bias"),
    ]
    assert not any(weft.is_sharded(p) for p in layer.parameters())
    return texts


def mesh_of_another_size():
    texts = []
    for shape, names in (((4,), ("a",)), ((3, 2), ("a", "b"))):
        mesh = weft.DeviceMesh(shape, names, device_type="cpu")
        layout = (names[0], None)
        texts.append(refuse(lambda m=mesh, lay=layout: weft.distribute_tensor(torch.ones(4, 4), lay, m), "2"))
    texts.append(refuse(lambda: weft.DeviceMesh((2, 2), ("a",), device_type="cpu")))
    texts.append(refuse(lambda: weft.DeviceMesh((2,), ("a",), [0, 0], device_type="cpu"), "0"))
    texts.append(refuse(lambda: weft.DeviceMesh((0,), ("a",), device_type="cpu")))
    return texts


def two_meshes():
    one, other = mesh2(), weft.DeviceMesh((1, 2), ("x", "y"), device_type="cpu")
    a = weft.distribute_tensor(torch.ones(4, 4), ("a", None), one)
    b = weft.distribute_tensor(torch.ones(4, 4), ("y", None), other)
    texts = []
    for call in (lambda: a + b, lambda: a @ b, lambda: torch.cat([a, b]), lambda: a.add_(b), lambda: a.copy_(b)):
        texts.append(refuse(call, "mesh"))
    texts.append(refuse(lambda: torch._foreach_add([a], [b]), "mesh"))
    assert torch.equal(weft.full_tensor(a), torch.ones(4, 4))
    assert torch.equal(weft.full_tensor(a + weft.distribute_tensor(b, ("a", None), one)), torch.full((4, 4), 2.0))
    return texts


def shapes_differ_between_ranks():
    mesh, rank = mesh2(), weft.rank()
    texts = [
        refuse(lambda: weft.distribute_tensor(torch.ones(4 + rank, 4), ("a", None), mesh), "rank"),
        refuse(lambda: weft.distribute_tensor(torch.ones(4, 4), ("a", None) if rank else (None, "a"), mesh), "rank"),
        refuse(lambda: weft.distribute_tensor(torch.ones(4, dtype=(torch.float32, torch.float64)[rank]), ("a",), mesh)),
        refuse(lambda: weft.distribute_module(torch.nn.Linear(4, 4 + rank), {}, mesh=mesh), "rank"),
    ]
    x = weft.distribute_tensor(torch.arange(4.0), ("a",), mesh)
    assert torch.equal(weft.full_tensor(x), torch.arange(4.0))  # the ranks are still in step
    return texts


def parts_do_not_fit():
    mesh, rank = mesh2(), weft.rank()
    texts = [
        refuse(lambda: weft.from_local(torch.ones(3 - 2 * rank, 2), ("a", None), device_mesh=mesh)),
        refuse(lambda: weft.from_local(torch.ones(2, 2), ("a", None), (5, 2), device_mesh=mesh)),
        refuse(lambda: weft.from_local(torch.ones(2, 2 + rank), ("a", None), device_mesh=mesh)),
        refuse(lambda: weft.from_local(torch.ones(2, 2 + rank), (None, None), device_mesh=mesh)),
        refuse(lambda: weft.from_local(torch.ones(2, 2), ("a", None), (4, 3), device_mesh=mesh)),
    ]
    x = weft.from_local(
        torch.full((3 - rank, 2), float(rank)), ("a", None), device_mesh=mesh
    )  # 3 and 2 are torch.chunk's
    assert x.shape == (5, 2) and weft.full_tensor(x)[:, 0].tolist() == [0, 0, 0, 1, 1]
    return texts


def op_errors():
    """An op's own error for wrong shapes or dtypes is raised, on every rank, before anything is sent."""
    mesh = mesh2()
    a = weft.distribute_tensor(torch.ones(5, 4), ("a", None), mesh)
    b = weft.distribute_tensor(torch.ones(3, 4), (None, "a"), mesh)
    texts = []
    for call in (
        lambda: a @ b,
        lambda: a + b,
        lambda: torch.cat([a, b[0]]),
        lambda: a.view(7, 3),
        lambda: a[:, 1:3].view(10),  # its strides forbid it
        lambda: a.sum(3),
        lambda: a[7],
        lambda: a.expand(5, 5),
        lambda: a.copy_(b),
        lambda: torch.nn.functional.conv1d(a[None], a[None, :, :2], stride=0),
        lambda: torch.nn.functional.unfold(a[None, None], 2, stride=0),
        lambda: torch.nn.functional.fold(a[None, :4], (3, 3), 0),
        lambda: a.as_strided((2, 2), (-1, 1)),
        lambda: a.as_strided((2, 2), (1,)),
    ):
        with pytest.raises((RuntimeError, IndexError, ValueError)) as info:
            call()
        texts.append(type(info.value).__name__)
    assert float(a.sum()) == 20
    return texts


def index_out_of_range():
    # The split dimension is masked, which must not hide an index that no rank has.
    weight = weft.distribute_tensor(torch.ones(50000, 3), ("a", None), mesh2())
    index = torch.tensor([1, 70000])
    calls = (
        lambda: torch.nn.functional.embedding(index, weight),
        lambda: weight.gather(0, index.unsqueeze(-1)),
        lambda: torch.nn.functional.nll_loss(weight.t(), torch.tensor([1, -100, 90000])),
    )
    texts = []
    for call in calls:
        with pytest.raises(IndexError, match="out of range.*\\[0, 50000\\)") as info:
            call()
        texts.append(str(info.value).split("\n")[0])
    assert torch.equal(
        weft.full_tensor(torch.nn.functional.nll_loss(weight.t(), torch.tensor([1, -100, 40000]))), torch.tensor(-1.0)
    )
    return texts


def several_patterns():
    mesh = mesh2()
    layer = torch.nn.Linear(4, 4)
    texts = [
        refuse(
            lambda: weft.distribute_module(layer, {"w.*": ("a", None), ".*t": (None, "a")}, mesh=mesh), "w.*", ".*t"
        ),
        refuse(lambda: weft.LayoutMap(mesh, {"a(": ("a",)}), "a("),
        refuse(lambda: weft.LayoutMap(mesh, {"(?=a)b": ("a",)}), "(?=a)b"),
        refuse(lambda: weft.random_mode("dice"), "dice"),
    ]
    assert not any(weft.is_sharded(p) for p in layer.parameters())
    return texts


CASES = {
    f.__name__: f
    for f in (
        unknown_axis,
        axis_twice,
        rank_differs,
        mesh_of_another_size,
        two_meshes,
        shapes_differ_between_ranks,
        parts_do_not_fit,
        op_errors,
        index_out_of_range,
        several_patterns,
    )
}


def every_case():
    texts = {}
    errors = run_cases({name: lambda name=name, f=f: texts.__setitem__(name, f()) for name, f in CASES.items()})
    return errors, texts


@pytest.fixture(scope="module")
def results(ranks2):
    return ranks2(every_case, timeout=60)


@pytest.mark.parametrize("name", CASES)
def test_refused_alike_on_every_rank(results, name):
    check([errors for errors, _ in results], name)
    assert results[0][1][name] == results[1][1][name]
