"""A C++ program that finds Weft by CMake's find_package, and runs on two ranks with no Python in it."""

from pathlib import Path

import pytest
import torch
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
    outputs = run_programs(2, [program, tmp_path / "scripted.pt"], timeout=120)
    for r, output in enumerate(outputs):
        assert output.endswith(f"rank {r} of 2: all right\n"), output
