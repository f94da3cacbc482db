"""What is installed works where it lies: the CMake package, the wheel, which is built with the torch that is there."""

import importlib
import os
import re
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from support import cpp

BARE = {"PATH": "/usr/bin:/bin"}  # no library path, no torch told of
RELEASE = torch.__version__.split("+")[0]


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.syspath_prepend(str(cpp.ROOT / "tools" / "packaging"))
    return importlib.import_module("weft_build")


def environment_with(tmp_path, monkeypatch, backend, version):
    """One whose torch is of that version; None: it has none."""
    if version:
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda key: str(tmp_path))


def test_the_torch_that_is_there_is_taken(backend):
    assert backend.torch_folder() == Path(torch.__file__).parent
    assert not [r for r in backend.get_requires_for_build_wheel() if r.startswith("torch")]
    assert backend.dynamic_metadata("dependencies") == [f"torch=={RELEASE}"]


@pytest.mark.parametrize("version", ["2.11.0", "2.12.1+cu130", "2.15.0+cpu"])
def test_torches_that_fit(tmp_path, monkeypatch, backend, version):
    environment_with(tmp_path, monkeypatch, backend, version)
    assert backend.torch_folder() == tmp_path / "torch"
    assert backend.torch_release() == version.split("+")[0]


@pytest.mark.parametrize("version", [None, "2.10.1", "2.16.0", "2.15.0a0+git1", "3.11.0", "nightly"])
def test_another_torch_is_fetched(tmp_path, monkeypatch, backend, version):
    environment_with(tmp_path, monkeypatch, backend, version)
    assert backend.torch_folder() is None
    assert "torch>=2.11,<2.16" in backend.get_requires_for_build_wheel()


def test_no_torch_that_fits(tmp_path, monkeypatch, backend):
    environment_with(tmp_path, monkeypatch, backend, None)
    monkeypatch.setattr(backend.importlib.metadata, "version", lambda name: "2.9.0")
    with pytest.raises(RuntimeError, match=r"needs torch>=2\.11,<2\.16 to be built against, found 2\.9\.0"):
        backend.torch_release()


def started(program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True, timeout=120, env=BARE, cwd=program.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed(library: Path) -> set[str]:
    told = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True, env=BARE).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", told))


def in_torch() -> set[str]:
    return {file.name for file in (Path(torch.__file__).parent / "lib").iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_installed_by_cmake(tmp_path):
    subprocess.run(["cmake", "--install", cpp.BUILD, "--prefix", tmp_path / "there"], check=True, capture_output=True)
    out = cpp.built(cpp.ROOT / "examples" / "cpp", tmp_path / "out", prefix=tmp_path / "there")
    assert "step 100: loss" in started(out / "train")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_wheel(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", cpp.ROOT, "--no-deps", "-w", tmp_path], check=True, timeout=1700)
    (wheel,) = tmp_path.glob("weft-*.whl")
    with ZipFile(wheel) as files:
        (name,) = (n for n in files.namelist() if n.endswith("/METADATA"))
        assert f"torch=={RELEASE}" in message_from_bytes(files.read(name)).get_all("Requires-Dist")
        libraries = {Path(n).name for n in files.namelist() if ".so" in Path(n).name}
        files.extract("weft/lib/libweft.so", tmp_path)
    # Of its own it brings RE2 alone; torch brings CUDA's. What any Linux has is all that is left.
    assert libraries - {"libweft.so"} in (set(), {n for n in libraries if n.startswith("libre2.so.")})
    left = needed(tmp_path / "weft" / "lib" / "libweft.so") - libraries - in_torch()
    assert {n.split(".so")[0] for n in left} <= {
        "libstdc++",
        "libm",
        "libgcc_s",
        "libc",
        "ld-linux-x86-64",
        "libcudart",
    }
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    (site / "torch").symlink_to(Path(torch.__file__).parent)  # side by side, as pip lays them
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "weft", "--cmake-prefix-path"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert Path(told.stdout.strip()) == site / "weft"
    out = cpp.built(cpp.ROOT / "examples" / "cpp", tmp_path / "out", prefix=site / "weft")
    assert "step 100: loss" in started(out / "train")
