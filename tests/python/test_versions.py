"""The torch releases that fit are said in one place, tools/torch_versions.txt; all that names them agrees with it. So
does what says Weft's own version."""

import re

import pytest
import weft
from support.cpp import ROOT

OLDEST, NEWEST = re.findall(r"^\d+\.\d+\.\d+$", (ROOT / "tools" / "torch_versions.txt").read_text(), re.MULTILINE)


def short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def read(file: str) -> str:
    return (ROOT / file).read_text()


def test_pinned_is_the_newest():
    assert re.findall(r"^torch==(\S+); python_version >=", read("tools/requirements.txt"), re.MULTILINE) == [NEWEST]


@pytest.mark.parametrize("file", ["README.md", "docs/index.md", "CHANGELOG.md"])
def test_documents_name_the_range(file):
    ranges = re.findall(r"\b(2\.\d+) to (2\.\d+)\b", read(file))
    assert set(ranges) == {(short(OLDEST), short(NEWEST))}


@pytest.mark.parametrize("file", ["README.md", "docs/testing.md", "tools/setup", ".ci/run"])
def test_the_oldest_is_what_they_try(file):
    assert set(re.findall(r"--torch[ =](\d[\d.]+)", read(file))) <= {OLDEST}


def test_cmake_and_the_wheel_say_no_version_of_their_own():
    for file in ("CMakeLists.txt", "tools/packaging/weft_build.py", "pyproject.toml"):
        assert not re.findall(r"(?:torch|VERSION_\w+) *[<>=]*2\.1\d", read(file)), file


def test_own_version_is_one():
    assert re.findall(r'^version = "(.+)"', read("pyproject.toml"), re.MULTILINE) == [weft.__version__]
    assert re.findall(r"^project\(weft VERSION (\S+)", read("CMakeLists.txt"), re.MULTILINE) == [weft.__version__]
    newest = re.search(r"^## \[(?:Unreleased\]\n\nTowards )?(\d[\d.]*\d)", read("CHANGELOG.md"), re.MULTILINE)
    assert newest and newest[1] == weft.__version__


def test_what_differs_is_in_the_table():
    table = read("docs/extending.md").split("What differs between them", 1)[1].split("\n## ", 1)[0]
    told = {
        name for row in re.findall(r"^ *\| `.*", table, re.MULTILINE) for name in re.findall(r"`([\w/]+\.\w+)`", row)
    }
    tops = ("csrc", "include", "torch_ops", "tools/cmake")
    sources = [f for top in tops for f in (ROOT / top).rglob("*.*") if f.suffix in SOURCES]
    differ = {str(f.relative_to(ROOT)) for f in sources if re.search(r"\btorch 2\.\d|TORCH_VERSION_M", f.read_text())}
    assert differ == told


SOURCES = {".h", ".cpp", ".cu", ".py", ".cmake"}
