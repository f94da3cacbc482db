"""Saves in the background: training goes on meanwhile, and a program's end waits for them."""

import sys

import torch
import weft
from support.cases import meshes
from support.ranks import run_programs


def trains_meanwhile(folder):
    """Saves at each step without waiting; the losses, those of a run without saves, and the last checkpoint's value."""
    mesh = meshes(weft.world_size())[0]

    def run(save):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
        weft.distribute_module(net, {"0/weight": ("a", None), "2/weight": (None, "a")}, mesh=mesh)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        losses, pending = [], None
        for step in range(6):
            loss = net(torch.full((8, 64), step / 10)).square().sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if save:
                held = weft.full_tensor(net[0].weight.detach()).clone()
                pending = weft.async_save(folder, net, optimizer, step=step)
        return losses, net, pending, held if save else None

    expected = run(False)[0]
    losses, net, pending, held = run(True)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    pending.wait()
    step = weft.load(folder, net, strict=True).step
    return losses == expected, step, torch.equal(weft.full_tensor(net[0].weight), held)


def test_training_goes_on(ranks2, tmp_path):
    assert ranks2(trains_meanwhile, str(tmp_path / "c")) == [(True, 5, True)] * 2


PROGRAM = """
import sys, torch, weft
weft.initialize()
mesh = weft.DeviceMesh((weft.world_size(),), ("a",))
t = weft.distribute_tensor(torch.arange(1 << 22).float(), ("a",), mesh)
pending = weft.async_save(sys.argv[1], {"t": t}, step=1)
t.zero_()
print("not waited for" if not pending.done() else "done already")
"""


def test_the_end_of_a_program_waits(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    folder = str(tmp_path / "c")
    run_programs(2, [sys.executable, str(script), folder], timeout=120)
    t = torch.zeros(1 << 22)
    assert weft.load(folder, {"t": t}).step == 1
    assert torch.equal(t, torch.arange(1 << 22).float())


def one_rank_refuses(folder):
    """What all ranks are told where one cannot save what it was given, and the step of the next save."""
    t = weft.distribute_tensor(torch.arange(8.0), ("a",), meshes(weft.world_size())[0])
    try:
        weft.async_save(folder, {"t": t}, extra=object() if weft.rank() == 1 else None)
        said = ""
    except ValueError as error:
        said = str(error)
    weft.async_save(folder, {"t": t}, step=7).wait()
    return said, weft.load(folder, {"t": t}).step


def test_saves_after_one_that_was_refused(ranks2, tmp_path):
    for said, step in ranks2(one_rank_refuses, str(tmp_path / "c")):
        assert "must be the same on all ranks" in said and step == 7
