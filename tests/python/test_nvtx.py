"""NVTX ranges: what Nsight Systems shows under `torch.autograd.profiler.emit_nvtx`. It needs no GPU."""

import ctypes
import os
import subprocess
import sysconfig
from pathlib import Path
from unittest import mock

import pytest
import torch
import weft
from torch import nn

CUDA = [Path("/usr/local/cuda/include"), *Path(sysconfig.get_path("purelib")).glob("nvidia/*/include")]


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """A library that NVTX tells of ranges."""
    headers = next((f for f in CUDA if (f / "nvtx3" / "nvToolsExt.h").exists()), None)
    if headers is None or torch.version.cuda is None:
        pytest.skip("needs NVTX's headers, and a CUDA build of torch")
    library = tmp_path_factory.mktemp("nvtx") / "names.so"
    source = Path(__file__).with_name("nvtx_names.cpp")
    subprocess.run(["c++", "-std=c++20", "-shared", "-fPIC", "-isystem", headers, source, "-o", library], check=True)
    return str(library)


def ranges(listener):
    os.environ["NVTX_INJECTION64_PATH"] = listener  # read at this process's first range
    mesh = weft.DeviceMesh((torch.distributed.get_world_size(),), ("m",), device_type="cpu")
    net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    weft.distribute_module(net, {"0/weight": ("m", None), "2/weight": (None, "m")}, mesh=mesh)
    with mock.patch("torch.cuda.synchronize"), torch.autograd.profiler.emit_nvtx(), weft.trace() as trace:
        net(torch.ones(5, 8)).square().sum().backward()
        weft.full_tensor(net[0].weight)
    net(torch.ones(5, 8)).sum().item()  # outside: not told
    names = ctypes.CDLL(listener).pushed_names
    names.restype = ctypes.c_char_p
    told = [line.split(", op_id")[0] for line in names().decode().splitlines()]
    return [name for name in told if name.startswith("weft::")], trace.rows


def check(found):
    for names, rows in found:
        rows = [r for r in rows if r.op]  # the others compare what the ranks do
        collectives = [f"weft::{r.kind} m {r.path or f'[{r.op}]'}" for r in rows]
        assert sorted(n for n in names if n in collectives) == sorted(collectives), names
        assert "weft::all_gather m 0/weight" in collectives
        assert "weft::relayout (m, None) -> (None, None) 0/weight" in names


def test_ranges_of_collectives_and_relayouts(ranks2, listener):
    check(ranks2(ranges, listener))


def test_ranges_on_three_ranks(ranks3, listener):
    check(ranks3(ranges, listener))
