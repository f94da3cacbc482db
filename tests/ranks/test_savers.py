"""torch.save and safetensors of sharded tensors: one process's files, and the same errors on all ranks."""

import io
import os

import pytest
import torch
import weft
from ranks.checkpoints import mesh_of
from ranks.test_checkpoint_training import build, steps
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
from support.ranks import run_ranks


def trained(shape):
    with weft.random_mode("replay"):
        net, optimizer = build(mesh_of(shape), "adamw", 0)
        steps(net, optimizer, 2, 0)
    return net, optimizer


def whole_values(net):
    return {name: weft.full_tensor(t.detach()) for name, t in net.state_dict().items()}


def saves(folder, shape):
    """What was saved, and this rank's own copies of it."""
    net, optimizer = trained(shape)
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}, folder / "state.pt")
    torch.save(net, str(folder / "net.pt"))
    torch.save(net.state_dict(), folder / f"own{weft.rank()}.pt")
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    with open(folder / "open.pt", "wb") as f:
        torch.save(net.up.weight, f)
    buffer.seek(0)
    state = [{k: weft.full_tensor(v) for k, v in entry.items()} for entry in optimizer.state.values()]
    return whole_values(net), state, torch.load(buffer)


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[k], v) for k, v in expected.items())


@pytest.mark.parametrize("ranks", [2, 3])
def test_torch_save(ranks, request, tmp_path):
    found = request.getfixturevalue(f"ranks{ranks}")(saves, tmp_path, (ranks,))
    for rank, (values, state, mine) in enumerate(found):
        loaded = torch.load(tmp_path / "state.pt")
        assert loaded["step"] == 3 and same(loaded["model"], values) and same(mine, values)
        stored = loaded["optimizer"]["state"].values()
        assert len(stored) == len(state) and all(map(same, stored, state))
        assert same(torch.load(tmp_path / f"own{rank}.pt"), values)
    assert loaded["model"]["head.weight"].data_ptr() == loaded["model"]["embed.weight"].data_ptr()
    net = torch.load(tmp_path / "net.pt", weights_only=False)
    assert net.head.weight is net.embed.weight and isinstance(net.up.weight, torch.nn.Parameter)
    assert same(net.state_dict(), values) and net(torch.arange(16)).shape == (16, 20)
    up = torch.load(tmp_path / "open.pt")
    assert isinstance(up, torch.nn.Parameter) and up.requires_grad and torch.equal(up, values["up.weight"])


def again(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def saves_views():
    """What shares memory does so in the file, as in one process; tensors that others have as attributes are whole."""
    mesh = mesh_of((weft.world_size(),))
    plain = torch.arange(24.0).reshape(6, 4)
    problems = []
    for w in (
        plain,
        weft.distribute_tensor(plain, ("a", None), mesh),
        weft.distribute_tensor(plain.t(), ("a", None), mesh).t(),
    ):
        parameter = torch.nn.Parameter(w)
        views = {"rows": w[0:2], "t": w.t(), "all": w, "one": w[1], "flat": w.diagonal(), "wide": w[0].expand(3, 4)}
        loaded = again({**views, "parameter": parameter})
        loaded["all"][:2] = -1
        with torch.no_grad():
            loaded["parameter"][5] = 7
        expected = plain.clone()
        expected[:2], expected[5] = -1, 7
        for name, wanted in (
            ("rows", expected[0:2]),
            ("t", expected.t()),
            ("one", expected[1]),
            ("flat", expected.diagonal()),
            ("wide", expected[0].expand(3, 4)),
        ):
            if not torch.equal(loaded[name], wanted):
                problems.append(f"{name}: {loaded[name]}")
        alone = again(w[0:2])
        if not torch.equal(alone, plain[0:2]):
            problems.append(f"alone: {alone}")
        parameter.main_grad = w * 2
        parameter.main_grad.more = [w + 1]
        loaded = again(parameter)
        if not torch.equal(loaded.main_grad, plain * 2) or not torch.equal(loaded.main_grad.more[0], plain + 1):
            problems.append(f"attributes: {vars(loaded)}")
    return problems


def test_views_and_attributes(ranks2, ranks3):
    assert ranks2(saves_views) == [[]] * 2 and ranks3(saves_views) == [[]] * 3


def saves_safetensors(folder, shape):
    net, _ = trained(shape)
    values = whole_values(net)
    state = {k: v for k, v in net.state_dict().items() if k != "head.weight"}
    save_file(state, folder / "file.safetensors", {"format": "pt"})
    save_model(net, str(folder / "model.safetensors"))
    data = save(state)
    errors = []
    for tensors in (net.state_dict(), {"t": net.up.weight.detach().t()}):  # tied, and not contiguous
        try:
            save_file(tensors, folder / "wrong.safetensors")
        except (RuntimeError, ValueError) as e:
            errors.append(str(e))
    other, _ = build(mesh_of(shape), "adamw", 5)
    load_model(other, folder / "model.safetensors")
    return values, data, errors, same(whole_values(other), values)


@pytest.mark.parametrize("ranks", [2, 3])
def test_safetensors(ranks, request, tmp_path):
    found = request.getfixturevalue(f"ranks{ranks}")(saves_safetensors, tmp_path, (ranks,))
    plain, _ = build(None, "adamw", 3)
    for values, data, (shared, order), loaded in found:
        assert "share memory" in shared and "non contiguous" in order and loaded
        assert same(load_file(tmp_path / "file.safetensors"), {k: v for k, v in values.items() if k != "head.weight"})
        assert same(load(data), load_file(tmp_path / "file.safetensors"))
    plain.load_state_dict(values)
    save_file({k: values[k] for k in values if k != "head.weight"}, tmp_path / "plain1", {"format": "pt"})
    save_model(plain, str(tmp_path / "plain2"))
    assert (tmp_path / "file.safetensors").read_bytes() == (tmp_path / "plain1").read_bytes()
    assert load_file(tmp_path / "model.safetensors").keys() == load_file(tmp_path / "plain2").keys()
    assert not os.path.exists(tmp_path / "wrong.safetensors")


def fails(folder):
    """What a folder that is not there says; then they are in step still."""
    t = weft.distribute_tensor(torch.arange(6.0), ("a",), mesh_of((weft.world_size(),)))
    said = []
    for call in (torch.save, save_file):
        try:
            call({"t": t}, str(folder / "none" / "file"))
        except Exception as e:
            said.append(str(e))
    if weft.rank() == 0:
        torch.save({"plain": torch.ones(2)}, folder / "plain.pt")  # which concerns nobody else
    torch.save(t, folder / "t.pt")
    return said, (t + 1).sum().item()


def test_errors_of_the_writer_on_all_ranks(ranks3, tmp_path):
    for said, total in ranks3(fails, tmp_path):
        assert len(said) == 2 and all("none" in text or "No such file" in text for text in said) and total == 21
    assert torch.equal(torch.load(tmp_path / "t.pt"), torch.arange(6.0)) and (tmp_path / "plain.pt").exists()


def saves_alone(folder):
    t = weft.distribute_tensor(torch.arange(6.0), ("a",), mesh_of((2,)))
    try:
        if weft.rank() == 0:
            torch.save(t, folder / "t.pt")
        t.sum().item()
    except ValueError as e:
        return str(e)
    return ""


def test_one_rank_alone_is_an_error_on_all(tmp_path):
    for said in run_ranks(2, saves_alone, [tmp_path]):
        assert "torch.save of sharded tensors, which every rank calls alike" in said
