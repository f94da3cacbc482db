"""Builds a C++ project that finds Weft by CMake's find_package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / f"build-{torch.__version__.split('+')[0]}"  # of tools/setup --torch
BUILD = OWN if OWN.is_dir() else ROOT / "build"


def built(source: Path, out: Path, *options: str, prefix: Path = BUILD) -> Path:
    """The folder with the project's programs; without optimization, as compiling is most of what a test costs.

    Args:
        prefix: where Weft is: a build folder, or what it was installed into.
    """
    if not (BUILD / "weftConfig.cmake").exists():
        pytest.skip("no build folder to find the CMake package in")
    launcher = shutil.which("ccache")
    configure = ["cmake", "-S", source, "-B", out, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}", *options]
    configure += [f"-DWEFT_PYTHON={sys.executable}", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"]
    configure += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}"] if launcher else []
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for command in (configure, ["cmake", "--build", out]):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=560, env={"PATH": path, "HOME": str(out)}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return out
