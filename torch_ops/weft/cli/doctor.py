"""weft doctor: whether this installation works, with a test on two processes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from .._library import cmake_prefix_path, library_path, torch_version_built_for

_SHOWN = 2000  # characters of what a self-test that failed has written last


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    text: str
    right: bool = True


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="whether this installation works",
        description="Tells versions, devices and backends, and lets two processes compute on sharded tensors over "
        "Gloo. Exit code 1 where something does not work.",
    )
    parser.add_argument("--no-self-test", action="store_true", help="without the two processes")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="of the self-test (default: 120)")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _devices, _backends]
    if not options.no_self_test:
        checks.append(lambda: _self_test(options.timeout))
    wrong = 0
    for check in checks:
        for finding in check():
            print(f"{'ok   ' if finding.right else 'WRONG'}  {finding.what:<12} {finding.text}", flush=True)
            wrong += not finding.right
    print("all right" if wrong == 0 else f"{wrong} thing{'' if wrong == 1 else 's'} wrong")
    return 1 if wrong else 0


def _versions() -> Iterator[Finding]:
    from .. import __version__  # not before the package is complete

    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("weft", f"{__version__}, {library_path()}")
    yield Finding("torch", f"{torch.__version__}; the library was built for {torch_version_built_for(library_path())}")
    try:
        yield Finding("cmake", str(cmake_prefix_path()))
    except FileNotFoundError as error:
        yield Finding("cmake", f"{error} (C++ programs only)")


def _devices() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        yield Finding(
            "gpu", f"none; torch is built {f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'}"
        )
        return
    for n in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(n)
        yield Finding("gpu", f"{n}: {device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")


def _backends() -> Iterator[Finding]:
    if not dist.is_available():
        yield Finding("backends", "this torch has no torch.distributed", right=False)
        return
    yield Finding("gloo", "is there" if dist.is_gloo_available() else "this torch has none", dist.is_gloo_available())
    if dist.is_nccl_available():
        yield Finding(
            "nccl", ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else "is there"
        )
    else:
        yield Finding("nccl", "none", right=not torch.cuda.is_available())
    interface = os.environ.get("GLOO_SOCKET_IFNAME")
    yield Finding("interface", f"GLOO_SOCKET_IFNAME={interface}" if interface else "the one of the host's name")


def _self_test(timeout: float) -> Iterator[Finding]:
    """Two processes under torchrun, of which the first tells its times."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    environment.setdefault("OMP_NUM_THREADS", "1")
    process = subprocess.Popen(
        [*command, "-m", "weft.cli.self_test"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun then ends the ranks
        _, errors = process.communicate()
        yield Finding("self-test", f"not done after {timeout:g} s\n{errors[-_SHOWN:]}", right=False)
        return
    if process.returncode != 0:
        yield Finding("self-test", f"failed\n{errors[-_SHOWN:]}", right=False)
        return
    for what, text in json.loads(out.splitlines()[-1]).items():
        yield Finding("self-test", f"{what}: {text}")
