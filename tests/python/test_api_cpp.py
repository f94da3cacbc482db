"""A C++ program that finds Weft by CMake's find_package, and runs on two ranks with no Python in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.ranks import run_programs

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OWN = ROOT / f"build-{torch.__version__.split('+')[0]}"  # of tools/setup --torch
BUILD = OWN if OWN.is_dir() else ROOT / "build"


@pytest.fixture(scope="module")
def program():
    if not (BUILD / "weftConfig.cmake").exists():
        pytest.skip("no build folder to find the CMake package in")
    out = BUILD / "cpp_program"
    launcher = shutil.which("ccache")
    configure = ["cmake", "-S", HERE / "cpp_program", "-B", out, "-G", "Ninja", f"-Dweft_DIR={BUILD}"]
    configure += [f"-DWEFT_PYTHON={sys.executable}", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"]
    configure += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}"] if launcher else []
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for command in (configure, ["cmake", "--build", out]):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=280, env={"PATH": path, "HOME": str(out)}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return out / "program"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_program_with_its_own_mesh(program, tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.jit.script(net).save(str(tmp_path / "scripted.pt"))
    outputs = run_programs(2, [program, tmp_path / "scripted.pt"], timeout=120)
    for r, output in enumerate(outputs):
        assert output.endswith(f"rank {r} of 2: all right\n"), output
