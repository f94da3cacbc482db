"""distribute_module: which objects survive, and that training goes on as on one process."""

import copy
import gc

import pytest
import torch
import weft
from support.token_net import Net, close, loss_of, make, mesh_of, train
from torch import nn


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
