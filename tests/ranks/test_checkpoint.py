"""Checkpoints: what was saved on one mesh loads, bit for bit, on any other, or on none."""

import itertools
import os

import pytest
import torch
import weft
from ranks.checkpoints import mesh_of, on
from safetensors.torch import load_file
from support.cases import every_layout, meshes

SHAPES = {"even": (8, 12), "uneven": (7, 5), "cube": (3, 10, 2), "line": (1001,), "one": (1,), "none": (0, 4), "": ()}


def values(dtype=torch.float32):
    """Tensors by name, the same on every rank."""
    torch.manual_seed(1)
    return {f"{name or 'scalar'}/w.{i}": torch.randn(shape).to(dtype) for i, (name, shape) in enumerate(SHAPES.items())}


def laid_out(tensors, mesh, variant):
    """Each in a layout of its own; None: plain."""
    if mesh is None:
        return dict(tensors)
    out = {}
    for i, (name, t) in enumerate(tensors.items()):
        layouts = every_layout(mesh, t.dim(), partial=t.dtype == torch.float32)
        out[name] = weft.distribute_tensor(t, layouts[(variant + i) % len(layouts)])
    return out


def saves(folder, shape, variant, background):
    tensors = laid_out(values(), mesh_of(shape), variant)
    if background:
        pending = weft.async_save(folder, tensors, step=3)
        with torch.no_grad():
            for t in tensors.values():
                t.zero_()
        pending.wait()
        assert pending.done()
    else:
        weft.save(folder, tensors, step=3)


def loads(folder, shape, variant):
    """The names of those that are not as they were saved."""
    expected = values()
    targets = laid_out({k: torch.full_like(v, 7) for k, v in expected.items()}, mesh_of(shape), variant)
    assert weft.load(folder, targets).step == 3
    return [k for k, t in targets.items() if not torch.equal(weft.full_tensor(t), expected[k])]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("shape", [(2,), (3,), (4,), (2, 2), None])
def test_saves_anywhere_loads_plain(shape, background, request, tmp_path):
    for variant in range(5):
        folder = str(tmp_path / str(variant))
        on(request, shape, saves, folder, variant, background)
        stored = {}
        for file in sorted(os.listdir(folder)):
            if file.startswith("model-"):
                stored |= load_file(f"{folder}/{file}")
        assert stored.keys() == values().keys()
        for name, expected in values().items():
            assert torch.equal(stored[name], expected), (variant, name)
        assert loads(folder, None, 0) == []


@pytest.mark.parametrize(("of", "to"), [((4,), (2,)), ((2,), (4,)), ((2, 2), (3,)), ((3,), (2, 2)), (None, (2, 2))])
def test_from_mesh_to_mesh(of, to, request, tmp_path):
    for variant in range(5):
        folder = str(tmp_path / str(variant))
        on(request, of, saves, folder, variant, False)
        for other in range(5):
            for wrong in on(request, to, loads, folder, other):
                assert wrong == [], (variant, other)


def dtypes_round(folder, dtype):
    mesh = meshes(weft.world_size())[0]
    torch.manual_seed(2)
    whole = torch.randn(9, 6)
    whole = whole > 0 if dtype == torch.bool else (whole * 100).to(dtype)
    layouts = {"rows": ("a", None), "columns": (None, "a"), "whole": (None, None)}
    weft.save(folder, {k: weft.distribute_tensor(whole, a, mesh) for k, a in layouts.items()})
    targets = {k: weft.distribute_tensor(torch.zeros_like(whole), (None, "a"), mesh) for k in layouts}
    weft.load(folder, targets)
    same = [torch.equal(weft.full_tensor(t).view(torch.uint8), whole.view(torch.uint8)) for t in targets.values()]
    return all(same)


DTYPES = [
    torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype, ranks2, tmp_path):
    assert ranks2(dtypes_round, str(tmp_path / "c"), dtype) == [True, True]


def of_another_dtype(folder, to):
    """The names that are not as `Tensor.to` has them; then what is said of dtypes that would lose their kind."""
    mesh = meshes(weft.world_size())[0]
    torch.manual_seed(2)
    stored = {"f": torch.randn(700, 301), "turned": torch.randn(6, 8), "i": torch.arange(9)}
    weft.save(folder, {k: weft.distribute_tensor(t, ("a",) + (None,) * (t.dim() - 1), mesh) for k, t in stored.items()})
    targets = {
        "f": weft.distribute_tensor(torch.zeros(700, 301, dtype=to), (None, "a"), mesh),
        "turned": weft.distribute_tensor(torch.zeros(8, 6, dtype=to).t(), ("a", None), mesh),
        "i": torch.zeros(9, dtype=to),
    }
    weft.load(folder, targets)
    wrong = [k for k, t in targets.items() if not torch.equal(weft.full_tensor(t), stored[k].to(to))]
    whole_numbers = {"f": weft.distribute_tensor(torch.zeros(700, 301, dtype=torch.int64), ("a", None), mesh)}
    try:
        weft.load(folder, whole_numbers, strict=False)
    except ValueError as error:
        return wrong, str(error), weft.full_tensor(whole_numbers["f"]).any().item()


@pytest.mark.parametrize("to", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_converts_to_the_variables_dtype(to, ranks2, ranks3, tmp_path):
    for ranks in (ranks2, ranks3):
        for wrong, said, changed in ranks(of_another_dtype, str(tmp_path / "c"), to):
            assert wrong == [] and "'f' is Float of shape (700, 301), not Long" in said and not changed


def memory_orders(folder):
    """Transposed and channels_last variables, saved row-major as plain ones are."""
    mesh = meshes(weft.world_size())[0]
    torch.manual_seed(3)
    image = torch.randn(4, 6, 5, 3).to(memory_format=torch.channels_last)
    turned = torch.randn(6, 8).t()
    tensors = {
        "image": weft.distribute_tensor(image, (None, "a", None, None), mesh),
        "turned": weft.distribute_tensor(turned, ("a", None), mesh),
        "plain": turned,
    }
    weft.save(folder, tensors)
    with torch.no_grad():
        for t in tensors.values():
            t.zero_()
    weft.load(folder, tensors)
    expected = {"image": torch.load(folder + ".pt")["image"], "turned": torch.load(folder + ".pt")["turned"]}
    expected["plain"] = expected["turned"]
    return [k for k, t in tensors.items() if not torch.equal(weft.full_tensor(t), expected[k])]


def test_memory_orders(ranks3, tmp_path):
    torch.manual_seed(3)
    image = torch.randn(4, 6, 5, 3).to(memory_format=torch.channels_last)
    torch.save({"image": image, "turned": torch.randn(6, 8).t()}, tmp_path / "c.pt")
    assert ranks3(memory_orders, str(tmp_path / "c")) == [[]] * 3


def conjugates_and_negatives(folder):
    """The names of those that are not as they were, saved from tensors, or loaded into tensors, whose memory is read
    conjugated or negated."""
    mesh = meshes(weft.world_size())[0]
    torch.manual_seed(5)
    z, r = torch.randn(6, 4, dtype=torch.complex64), torch.randn(6, 4)

    def lazy(z, r):
        rows, columns = weft.distribute_tensor(z, ("a", None), mesh), weft.distribute_tensor(z, (None, "a"), mesh)
        return {"z": z, "z.conj": z.conj(), "r": r, "-r": torch._neg_view(r), "imag": z.conj().imag} | {
            "rows": rows, "rows.conj": rows.conj(), "columns.conj": columns.conj(), "rows.imag": rows.conj().imag,
        }  # fmt: skip

    saved = lazy(z, r)
    expected = {name: weft.full_tensor(t).clone() for name, t in saved.items()}
    weft.save(folder, saved)
    wrong = []
    for name, value in expected.items():  # each alone, as they share memory
        for into in ({name: torch.zeros_like(value)}, {name: lazy(torch.zeros_like(z), torch.zeros_like(r))[name]}):
            weft.load(folder, into, strict=False)
            if not torch.equal(weft.full_tensor(into[name]), value):
                wrong.append(name)
    return wrong


def test_conjugates_and_negatives(ranks2, tmp_path):
    assert ranks2(conjugates_and_negatives, str(tmp_path / "c")) == [[], []]


def evenly_written(folder):
    """Bytes that this rank writes of a large replicated tensor."""
    mesh = meshes(weft.world_size())[0]
    before = int(open("/proc/self/io").read().split("wchar: ")[1].split()[0])
    weft.save(folder, {"w": weft.distribute_tensor(torch.randn(1 << 20), (None,), mesh)})
    return int(open("/proc/self/io").read().split("wchar: ")[1].split()[0]) - before


def test_replicas_are_written_once(ranks4, tmp_path):
    written = ranks4(evenly_written, str(tmp_path / "c"))
    share = (4 << 20) / 4
    assert all(share <= w < share + (1 << 18) for w in written), written


def extra_round(folder, shape):
    mesh = mesh_of(shape)
    t = torch.arange(10.0)
    extra = {
        "average": {"w": weft.distribute_tensor(t, ("a",), mesh) if mesh else t},
        "list": [1, 2.5, float("nan"), -float("inf"), None, True, "ä", (1, [t * 2])],
        3: {"x.y": t + 1, "x": {"y": t + 2}},
        "big": 1 << 80,
    }
    weft.save(folder, extra=extra)
    loaded = weft.load(folder).extra
    into = {"average": {"w": weft.distribute_tensor(t * 0, ("a",), mesh) if mesh else t * 0}}
    again = weft.load(folder, extra=into).extra
    same = torch.equal(weft.full_tensor(into["average"]["w"]), t) and again["average"]["w"] is into["average"]["w"]
    for wrong in ({"file": "\udce4"}, {"\udce4": 1}):  # as os.fsdecode gives of a name that is no UTF-8
        with pytest.raises(ValueError, match="lone surrogate"):
            weft.save(folder, extra=wrong)
    return loaded, same


@pytest.mark.parametrize("shape", [(2,), None])
def test_extra(shape, request, tmp_path):
    folder = str(tmp_path / "c")
    t = torch.arange(10.0)
    for loaded, same in on(request, shape, extra_round, folder):
        assert same and torch.equal(loaded["average"]["w"], t)
        one, half, nan, inf, none, yes, a, (first, (second,)) = loaded["list"]
        assert (one, half, inf, none, yes, a, first) == (1, 2.5, -float("inf"), None, True, "ä", 1) and nan != nan
        assert torch.equal(second, t * 2) and loaded["big"] == 1 << 80
        assert torch.equal(loaded[3]["x.y"], t + 1) and torch.equal(loaded[3]["x"]["y"], t + 2)


def random_state(folder):
    torch.manual_seed(3 + weft.rank())
    torch.rand(5)
    weft.save(folder, {})
    after = torch.rand(4)
    torch.manual_seed(9)
    weft.load(folder, random_state=True)
    return after, torch.rand(4)


def test_random_state_of_the_first_rank(ranks2, tmp_path):
    (first, again), (_, other) = ranks2(random_state, str(tmp_path / "c"))
    assert torch.equal(first, again) and torch.equal(first, other)


PAIRS = list(itertools.product([(2,), (3,)], [(None, "a"), ("a", None)]))


def wide(folder, shape, axes):
    """Rows of few bytes for each rank, which go through rows to the file, and through covering reads from it."""
    mesh, whole = mesh_of(shape), torch.arange(700 * 301.0).reshape(700, 301)
    weft.save(folder, {"w": weft.distribute_tensor(whole, axes, mesh)})
    t = weft.distribute_tensor(torch.zeros_like(whole), (None, "a"), mesh)
    weft.load(folder, {"w": t})
    return torch.equal(weft.full_tensor(t), whole)


@pytest.mark.parametrize(("shape", "axes"), PAIRS)
def test_short_rows(shape, axes, request, tmp_path):
    assert all(on(request, shape, wide, str(tmp_path / "c"), axes))
