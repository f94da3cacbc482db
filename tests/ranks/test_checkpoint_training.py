"""Checkpoints of models and optimizers: training goes on as if it had not stopped."""

import json

import pytest
import torch
import weft
from ranks.checkpoints import mesh_of, on
from safetensors import safe_open


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


def names_again(folder):
    """Of an optimizer that knows its parameters' names, and has them in another order."""
    net, _ = build(mesh_of((weft.world_size(),)), "adamw", 0)
    named = dict(net.named_parameters())
    weft.save(folder, net, torch.optim.AdamW(named.items()))
    other = torch.optim.AdamW(reversed(named.items()))
    weft.load(folder, net, other)
    (group,) = other.param_groups
    return [name for name, p in zip(group["param_names"], group["params"], strict=True) if named[name] is not p]


def test_names_that_the_optimizer_knows(ranks2, tmp_path):
    assert ranks2(names_again, str(tmp_path / "c")) == [[]] * 2
