"""A C++ program that finds Weft by CMake's find_package, and runs on two ranks with no Python in it."""

from pathlib import Path

import pytest
import torch
import weft
from support import cpp
from support.ranks import run_programs


@pytest.fixture(scope="module")
def program():
    return cpp.built(Path(__file__).parent / "cpp_program", cpp.BUILD / "cpp_program") / "program"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_program_with_its_own_mesh(program, tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.jit.script(net).save(str(tmp_path / "scripted.pt"))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.2)
    for _ in range(2):
        step(net, optimizer)
    weft.save(tmp_path / "python", net, optimizer, step=2)
    outputs = run_programs(2, [program, tmp_path / "scripted.pt", tmp_path], timeout=120)
    for r, output in enumerate(outputs):
        assert output.endswith(f"rank {r} of 2: all right\n"), output
    step(net, optimizer)
    other = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"\[W113\].* of another kind, 'torch::optim::AdamW', not Adam"):
        weft.load(tmp_path / "cpp", other, torch.optim.Adam(other.parameters()))
    its = torch.optim.AdamW(other.parameters(), lr=7, maximize=True)
    assert weft.load(tmp_path / "cpp", other, its).step == 3
    assert its.param_groups[0]["lr"] == 0.1
    assert its.param_groups[0]["maximize"], "C++ has no such option: it stays as it is"
    its.param_groups[0]["maximize"] = False
    for _ in range(2):
        torch.testing.assert_close(list(other.parameters()), list(net.parameters()))
        assert [s["step"] for s in its.state.values()] == [s["step"] for s in optimizer.state.values()]
        step(net, optimizer)
        step(other, its)


def step(net, optimizer):
    optimizer.zero_grad()
    net(torch.ones(4, 6)).square().sum().backward()
    optimizer.step()
