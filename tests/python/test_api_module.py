"""distribute_module: which objects survive, and that training goes on as on one process."""

import copy
import gc
import warnings

import pytest
import torch
import weft
from torch import nn


class Net(nn.Module):
    """Tied weights, buffers of both kinds, a convolution and a norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.full((8,), 0.5))
        self.register_buffer("shift", torch.arange(8.0) / 8, persistent=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) * self.scale + self.shift
        return self.head(self.norm(x))


LAYOUTS = {
    r"embed/weight": ("m", None),
    r"layers/0/weight": ("m", None),
    r"layers/1/weight": (None, "m"),
    r"layers/\d/bias|scale": ("m",),
}


def mesh_of(size, name="m"):
    return weft.DeviceMesh((size,), (name,), device_type="cpu")


def make(size):
    torch.manual_seed(1)
    net = Net()
    return net, weft.LayoutMap(mesh_of(size), LAYOUTS)


TOKENS = torch.tensor([[1, 2, 3, 4, 5], [0, 11, 7, 7, 2]])


def loss_of(net):
    logits = net(TOKENS)
    return nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS.flatten())


def train(net, optimizer, steps=3):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def check_identities(size):
    plain, layouts = make(size)
    net = copy.deepcopy(plain)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    loss_of(net).backward()
    gc.collect()
    before = {name: id(p) for name, p in net.named_parameters(remove_duplicate=False)}
    buffers = {name: id(b) for name, b in net.named_buffers()}
    net.norm.weight.note = "kept"
    net.layers[1].bias.requires_grad_(False)
    grads = {n: p.grad.clone() for n, p in net.named_parameters()}
    assert weft.distribute_module(net, layouts) is net
    assert before == {name: id(p) for name, p in net.named_parameters(remove_duplicate=False)}
    assert buffers == {name: id(b) for name, b in net.named_buffers()}
    assert net.head.weight is net.embed.weight and isinstance(net.head.weight, nn.Parameter)
    assert net.norm.weight.note == "kept" and not net.layers[1].bias.requires_grad
    for name, p in [*net.named_parameters(), *net.named_buffers()]:
        assert weft.is_sharded(p) and p.is_leaf
        assert weft.path_of(p) == name.replace(".", "/")
        axes = layouts[name].axes if layouts[name] else (None,) * p.dim()
        assert weft.layout_of(p).axes == axes
        close(weft.full_tensor(p).detach(), dict([*plain.named_parameters(), *plain.named_buffers()])[name].detach())
    for name, p in net.named_parameters():
        assert weft.layout_of(p.grad) == weft.layout_of(p)
        close(weft.full_tensor(p.grad), grads[name])
    net.layers[1].bias.requires_grad_(True)
    reference = torch.optim.AdamW(plain.parameters(), lr=0.01)
    losses, expected = train(net, optimizer), train(plain, reference)
    close(torch.tensor(losses), torch.tensor(expected))
    for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert weft.is_sharded(optimizer.state[p]["exp_avg"]), name
        close(weft.full_tensor(p).detach(), q.detach())
    return losses


def test_identities_and_training_on_one_rank():
    check_identities(1)


def test_identities_and_training(ranks2):
    one, two = ranks2(check_identities, 2)
    assert one == two


def check_hooks(size):
    net, layouts = make(size)
    seen = []
    handle = net.layers[0].weight.register_hook(lambda g: seen.append(("before", tuple(g.shape))))
    removed = net.layers[0].weight.register_hook(lambda g: seen.append("removed"))
    net.norm.bias.register_post_accumulate_grad_hook(lambda p: seen.append(("accumulated", p is net.norm.bias)))
    weft.distribute_module(net, layouts)
    removed.remove()
    net.layers[0].weight.register_hook(lambda g: seen.append(("after", weft.is_sharded(g))))
    loss_of(net).backward()
    assert sorted(map(str, seen)) == sorted(map(str, [("before", (8, 8)), ("after", True), ("accumulated", True)])), (
        seen
    )
    handle.remove()
    seen.clear()
    loss_of(net).backward()
    assert len(seen) == 2


def test_hooks_survive(ranks2):
    check_hooks(1)
    ranks2(check_hooks, 2)


def check_dtypes(size):
    net, layouts = make(size)
    weft.distribute_module(net, layouts)
    before = {name: id(p) for name, p in net.named_parameters()}
    for change, dtype in ((nn.Module.half, torch.half), (nn.Module.double, torch.double)):
        change(net)
        assert before == {name: id(p) for name, p in net.named_parameters()}
        for name, p in [*net.named_parameters(), *net.named_buffers()]:
            assert p.dtype == dtype and weft.is_sharded(p), name
        assert weft.layout_of(net.layers[0].weight).axes == ("m", None)
    net.to(torch.float32).requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_(True)
    loss_of(net).backward()
    assert all(weft.is_sharded(p.grad) for p in net.parameters())


def test_conversions_after_distribution(ranks2):
    check_dtypes(1)
    ranks2(check_dtypes, 2)


def check_state(size):
    net, layouts = make(size)
    plain = copy.deepcopy(net)
    with torch.no_grad():
        for p in plain.parameters():
            p.mul_(-2)
    weft.distribute_module(net, layouts)
    net.load_state_dict(plain.state_dict())
    state = net.state_dict()
    assert set(state) == set(plain.state_dict()) and all(weft.is_sharded(v) for v in state.values())
    for name, value in plain.state_dict().items():
        close(weft.full_tensor(state[name]), value)
    twin, _ = make(size)
    weft.distribute_module(twin, weft.LayoutMap(mesh_of(size), {"layers/0/weight": (None, "m")}))
    twin.load_state_dict(state)
    for name, value in plain.state_dict().items():
        close(weft.full_tensor(twin.state_dict()[name]), value)
    assert weft.layout_of(twin.layers[0].weight).axes == (None, "m")
    back, _ = make(size)
    back.load_state_dict({name: weft.full_tensor(value) for name, value in state.items()})
    close(back.head.weight, plain.head.weight)
    clone = copy.deepcopy(net)
    assert clone.head.weight is clone.embed.weight and clone.head.weight is not net.head.weight
    for (name, p), q in zip(net.named_parameters(), clone.parameters(), strict=True):
        assert weft.layout_of(p) == weft.layout_of(q) and weft.path_of(q) == weft.path_of(p), name
    losses = [train(m, torch.optim.SGD(m.parameters(), lr=0.1)) for m in (net, clone, plain)]
    close(torch.tensor(losses[0]), torch.tensor(losses[1]))
    close(torch.tensor(losses[0]), torch.tensor(losses[2]))


def test_state_dicts_and_deepcopy(ranks2):
    check_state(1)
    ranks2(check_state, 2)


class Untied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.conv, self.norm = nn.Linear(6, 8), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


def check_meta(size):
    with torch.device("meta"):
        net = Untied()
    ids = [id(p) for p in net.parameters()]
    layouts = weft.LayoutMap(mesh_of(size), {"a/weight": ("m", None)})
    torch.manual_seed(3)
    weft.distribute_module(net, layouts)
    assert ids == [id(p) for p in net.parameters()]
    values = {k: weft.full_tensor(v) for k, v in net.state_dict().items()}
    assert weft.local_tensor(net.a.weight).shape[0] == 8 // size
    assert values["norm.running_var"].eq(1).all() and values["norm.num_batches_tracked"] == 0
    assert values["a.weight"].std() > 0.1 and values["a.weight"].abs().max() <= 6**-0.5
    return values


def test_meta_modules_are_made_shard_by_shard(ranks2):
    expected = check_meta(1)
    for values in ranks2(check_meta, 2):
        for name, value in expected.items():
            close(values[name], value)


def test_meta_module_initialised_by_the_caller():
    with torch.device("meta"):
        net = Net()
    with pytest.raises(ValueError, match="scale.*param_init_fn"):
        weft.distribute_module(net, mesh=mesh_of(1))
    assert net.scale.is_meta, "nothing changed"

    def init(module):
        for p in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            p.detach().fill_(0.25)

    weft.distribute_module(net, mesh=mesh_of(1), param_init_fn=init)
    assert weft.full_tensor(net.scale).eq(0.25).all() and net.head.weight is net.embed.weight


def test_bad_maps_change_nothing():
    net, _ = make(1)
    mesh = mesh_of(1)
    with pytest.raises(ValueError, match="no layout map given"):
        weft.distribute_module(net)
    for entries, words in (
        ({"norm/bias": ("m", None)}, "norm.bias.*1 dimensions"),
        ({".*bias": ("m",), "norm.*": ("m",)}, "norm.*matches 2 entries"),
        ({"embed/weight": ("m", None), "head/weight": (None, "m")}, "one variable"),
    ):
        with pytest.raises(ValueError, match=words):
            weft.distribute_module(net, entries, mesh=mesh)
        assert not any(weft.is_sharded(p) for p in [*net.parameters(), *net.buffers()])
    with pytest.raises(ValueError, match="needs a mesh"):
        weft.distribute_module(net, {})
    loss = loss_of(net)
    with pytest.raises(ValueError, match="live autograd graph"):
        weft.distribute_module(net, mesh=mesh)
    assert not any(weft.is_sharded(p) for p in net.parameters())
    del loss
    weft.distribute_module(net, mesh=mesh)
    with pytest.raises(ValueError, match="lazy|no shape yet"):
        weft.distribute_module(nn.LazyLinear(3), mesh=mesh)


def test_active_map_and_redistribution():
    net, layouts = make(1)
    with weft.register_layouts(layouts):
        weft.distribute_module(net)
    assert weft.layout_of(net.scale).axes == ("m",)
    weft.distribute_module(net, mesh=mesh_of(1))
    assert weft.layout_of(net.scale).axes == (None,)


def wrong_on_one_rank(what):
    mesh = mesh_of(2)
    if what == "size":
        net = nn.Linear(4, 4 + weft.rank())
    elif what == "values":
        torch.manual_seed(weft.rank())
        net = nn.Linear(4, 4)
    try:
        return told(net, mesh=mesh)
    except ValueError as e:
        assert not weft.is_sharded(net.weight)
        return str(e)


def told(net, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weft.distribute_module(net, *args, **kwargs)
    return "\n---\n".join(str(w.message) for w in caught)


def test_variables_that_differ_between_ranks(ranks2):
    for message in ranks2(wrong_on_one_rank, "size"):
        assert "module's variables" in message and "rank 1 differs from rank 0" in message
    first, second = ranks2(wrong_on_one_rank, "values")
    assert "rank 1 differs from rank 0" in first and "seed" in first
    assert second == "", "one rank tells what concerns all"


def what_is_told():
    """Of maps that do not fit the module, and of those that do."""
    mesh = mesh_of(2)
    sizes = {"big": nn.Linear(64, 64), "other": nn.Linear(64, 64, bias=False), "small": nn.LayerNorm(64)}

    def told_of(layouts, **kwargs):
        return told(nn.ModuleDict(copy.deepcopy(sizes)), layouts, mesh=mesh, **kwargs)

    module = nn.ModuleDict(copy.deepcopy(sizes))
    return {
        "misses": told_of({"ig/weight": ("m", None), "nowhere.*": (None,), "other/weight": (None, "m")}),
        "meant": told_of({"big/weight": ("m", None), "other/weight": (None, None)}),
        "tied": told(Net(), weft.LayoutMap(mesh, {"head/weight": ("m", None), r"layers/\d/weight": ("m", None)})),
        "none": told_of(None),
        "made": told(module, weft.layouts.megatron(module, mesh, "m")),
        "one": told(nn.Linear(64, 64), {"weigh": ("x", None)}, mesh=mesh_of(2, "x")),
    }


def test_what_a_map_leaves_out_is_told_once_by_one_rank(ranks2):
    first, second = ranks2(what_is_told)
    assert set(second.values()) == {""}
    assert first["misses"] == (
        "[W047] distribute_module: the layout map does not fit the whole module:\n"
        "2 patterns match no variable:\n"
        "  'ig/weight'; '.*ig/weight' would match 'big/weight'\n"
        "  'nowhere.*'\n"
        "no pattern matches a large variable, which every rank holds whole, 16.0 KiB in all (if that is meant: an "
        "entry with None for each dimension):\n"
        "  big/weight [64, 64]"
    )
    assert "'weigh'; '.*weigh.*' would match 'weight'" in first["one"]
    assert {name: first[name] for name in ("meant", "tied", "none", "made")} == dict.fromkeys(
        ("meant", "tied", "none", "made"), ""
    )


def check_rnn(size):
    torch.manual_seed(0)
    plain = nn.LSTM(6, 8, num_layers=2, batch_first=True)
    net = copy.deepcopy(plain)
    weft.distribute_module(net, {r"weight_ih_l\d": ("m", None), r"weight_hh_l\d": (None, "m")}, mesh=mesh_of(size))
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    for module in (plain, net):
        module(x)[0].square().mean().backward()
    close(weft.full_tensor(net(x)[0]).detach(), plain(x)[0].detach())
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        close(weft.full_tensor(p.grad), q.grad)


def test_flat_weights_of_an_lstm(ranks2):
    check_rnn(1)
    ranks2(check_rnn, 2)


def check_report(size):
    net, layouts = make(size)
    preview = weft.report(net, layouts)
    weft.distribute_module(net, layouts)
    report = weft.report(net)
    assert [r.path for r in report.rows] == [r.path for r in preview.rows]
    rows = {r.path: r for r in report.rows}
    assert rows["layers.0.weight"].pattern == "layers/0/weight" and rows["layers.0.weight"].layout == "(m, None)"
    assert rows["layers.0.weight"].bytes == 256 and rows["layers.0.weight"].bytes_per_rank == 256 // size
    assert rows["norm.weight"].pattern is None
    assert "head.weight" not in rows, "a tied variable is one row"
    assert "layers/0/weight" in str(report) and report.bytes > report.bytes_per_rank or size == 1
    with pytest.raises(ValueError, match="not distributed"):
        weft.report(nn.Linear(2, 2))


def test_report(ranks2):
    check_report(1)
    ranks2(check_report, 2)
