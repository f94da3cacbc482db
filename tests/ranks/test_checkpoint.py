"""Checkpoints: what was saved on one mesh loads, bit for bit, on any other, or on none."""

import itertools
import json
import math
import os

import pytest
import torch
import weft
from safetensors import safe_open
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


def mesh_of(shape):
    return weft.DeviceMesh(shape, ("a", "b")[: len(shape)], device_type="cpu") if shape else None


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


def on(request, shape, function, folder, *args):
    """The function's values on the ranks of a mesh of that shape; None: on this process."""
    if shape is None:
        return [function(folder, shape, *args)]
    return request.getfixturevalue(f"ranks{math.prod(shape)}")(function, folder, shape, *args)


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


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(20, 8)
        self.up, self.drop, self.down = torch.nn.Linear(8, 12), torch.nn.Dropout(0.2), torch.nn.Linear(12, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.down(self.drop(torch.relu(self.up(x)))) * self.scale
        return self.head(self.norm(x))


RULES = {"embed/weight": ("a", None), "up/weight": ("a", None), "up/bias": ("a",), "down/weight": (None, "a")}
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, foreach=False),
}


def build(mesh, kind, seed):
    torch.manual_seed(seed)
    net = Net()
    if mesh is not None:
        weft.distribute_module(net, weft.LayoutMap(mesh, RULES))
    return net, OPTIMIZERS[kind](net.parameters())


def steps(net, optimizer, n, start):
    losses = []
    for i in range(start, start + n):
        x = torch.arange(16) * (i + 3) % 20
        loss = torch.nn.functional.cross_entropy(net(x), x.roll(1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def trains_and_saves(folder, shape, kind):
    """Goes on for two steps after the save, whose losses are the ones to be met again."""
    with weft.random_mode("replay"):
        net, optimizer = build(mesh_of(shape), kind, 0)
        steps(net, optimizer, 3, 0)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        weft.save(folder, net, optimizer, {"schedule": schedule.state_dict(), "epoch": (1, 2)}, step=3)
        return steps(net, optimizer, 3, 3)


def resumes(folder, shape, kind):
    with weft.random_mode("replay"):
        net, optimizer = build(mesh_of(shape), kind, 5)
        loaded = weft.load(folder, net, optimizer)
        assert loaded.step == 3 and loaded.extra["epoch"] == (1, 2) and loaded.extra["schedule"]["step_size"] == 2
        assert net.head.weight is net.embed.weight
        return steps(net, optimizer, 3, 3)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("of", "to"), [((2,), (2,)), ((2,), (3,)), ((2,), None), (None, (2,))])
def test_resumes_with_the_same_losses(of, to, kind, request, tmp_path):
    folder = str(tmp_path / "c")
    went_on = on(request, of, trains_and_saves, folder, kind)[0]
    for losses in on(request, to, resumes, folder, kind):
        if of == to:
            assert losses == went_on
        assert losses == pytest.approx(went_on, rel=1e-4)


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


def test_tied_and_buffers_and_index(ranks2, tmp_path):
    folder = str(tmp_path / "c")
    ranks2(trains_and_saves, folder, (2,), "adamw")
    index = json.loads((tmp_path / "c" / "model.safetensors.index.json").read_text())
    names = set(index["weight_map"])
    assert "embed.weight" in names and "head.weight" not in names and "scale" not in names
    assert "norm.running_mean" in names and "norm.num_batches_tracked" in names
    for name, file in index["weight_map"].items():
        with safe_open(f"{folder}/{file}", "pt") as f:
            assert name in f.keys() and f.metadata() == {"format": "pt"}


def fills_meta(folder, shape):
    """What is said while a buffer that no checkpoint holds has no value; then the tied names and the values."""
    mesh = mesh_of(shape)

    def scale(module):
        if isinstance(module, Net):
            module.scale.fill_(2.0)

    def fill(initialise):
        with torch.device("meta"):
            net = Net()
        if mesh:
            weft.distribute_module(net, weft.LayoutMap(mesh, RULES), param_init_fn=initialise)
        elif initialise is scale:
            net.scale = torch.tensor(2.0)
        weft.load(folder, net)
        return net

    try:
        fill(lambda module: None)
    except ValueError as error:
        message = str(error)
    net = fill(scale)
    values = {name: weft.full_tensor(t) for name, t in (*net.named_parameters(), *net.named_buffers())}
    return message, net.head.weight is net.embed.weight, values


@pytest.mark.parametrize("shape", [(2,), None])
def test_fills_what_is_on_meta(shape, request, tmp_path):
    folder = str(tmp_path / "c")
    torch.manual_seed(0)
    plain = Net()
    weft.save(folder, plain)
    for message, tied, state in on(request, shape, fills_meta, folder):
        assert tied and "scale" in message and "value" in message and "up.weight" not in message
        for name, t in (*plain.named_parameters(), *plain.named_buffers()):
            assert torch.equal(state[name], t), name


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


def all_bits(folder, shape, loads):
    """Whole values of model and optimizer, saved after two steps, or loaded into ones of other values."""
    net, optimizer = build(mesh_of(shape), "adamw", 5 if loads else 0)
    if loads:
        weft.load(folder, net, optimizer)
    else:
        steps(net, optimizer, 2, 0)
        weft.save(folder, net, optimizer)
    entries = [net.state_dict(), *(optimizer.state[p] for p in net.parameters())]
    return [{k: weft.full_tensor(v.detach()) for k, v in entry.items()} for entry in entries]


@pytest.mark.parametrize(("of", "to"), [((4,), (2,)), ((2, 2), (3,)), ((3,), None), (None, (2, 2))])
def test_model_and_optimizer_to_the_bit(of, to, request, tmp_path):
    saved = on(request, of, all_bits, str(tmp_path / "c"), False)[0]
    for loaded in on(request, to, all_bits, str(tmp_path / "c"), True):
        for mine, theirs in zip(loaded, saved, strict=True):
            assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], v) for k, v in theirs.items())


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
