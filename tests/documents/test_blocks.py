"""Every code block of the README and the guide runs as it stands there."""

import os
import re
import sys
from pathlib import Path

import pytest
import weft
from documents.blocks import CODE, DOCUMENTS, ROOT, Program, blocks_of, is_printed
from documents.programs import PROGRAMS
from support import cpp
from support.ranks import run_programs, run_ranks

SCRIPTS = [p for p in PROGRAMS if p.language == "python"]
COMPILED = [p for p in PROGRAMS if p.language == "cpp"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs run: the library lies as in the repository, and nothing else."""
    folder = tmp_path / "run_in"
    (folder / "torch_ops" / "weft" / "lib").mkdir(parents=True)
    (folder / "torch_ops" / "weft" / "lib" / "libweft.so").symlink_to(weft.library_path())
    monkeypatch.chdir(folder)
    return folder


def check(program: Program, output: str) -> None:
    """That it prints what the document says."""
    for block in program.outputs():
        assert is_printed(block.text, output), f"{block.file}:{block.line}: not what is printed:\n{output}"


def test_blocks_are_all_run():
    for file in DOCUMENTS:
        for block in blocks_of(file):
            where = f"{file}:{block.line}: a block of {block.language!r}"
            assert block.language in (*CODE, "text", ""), f"{where}, which no test knows"
            programs = [p for p in PROGRAMS if p.has(block)]
            assert block.language not in CODE or len(programs) == 1, f"{where} is in {len(programs)} programs"
            assert block.language != "text" or any(block in p.outputs() for p in PROGRAMS), f"{where}: of what?"
    for program in PROGRAMS:
        assert program.blocks(), f"{program.file}, {program.section}: there is no block of {program.language}"


def test_output_is_compared():
    assert is_printed("a  …c\nd", "x a bc d y") and is_printed("a … d", "a b c\nd")
    assert not is_printed("a c", "a b c") and not is_printed("a … e", "a b c d")


@pytest.mark.slow
@pytest.mark.parametrize("program", SCRIPTS, ids=lambda p: p.name)
def test_python_block(program: Program, tmp_path: Path, folder: Path) -> None:
    if sys.version_info < (3, 11) and "keras" in program.source():
        pytest.skip("Keras 3.15 needs Python 3.11")
    script = tmp_path / f"{program.name}.py"
    script.write_text(program.source())
    if re.search(r"^(import|from) .*\bweft\b", program.source(), re.MULTILINE):
        check(program, run_ranks(program.ranks, script, timeout=200)[0])
    else:  # which says that it needs nothing of Weft's but the library
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        check(program, run_programs(program.ranks, [sys.executable, str(script)], timeout=200, env=environment)[0])


@pytest.fixture(scope="module")
def compiled() -> Path:
    """All C++ blocks, by the CMake block of the guide where it does as well."""
    source, out = cpp.BUILD / "documents", cpp.BUILD / "documents_build"
    source.mkdir(exist_ok=True)
    for program in COMPILED:
        file = source / f"{program.name}.cpp"
        if not file.exists() or file.read_text() != program.source():  # nothing is compiled again for nothing
            file.write_text(program.source())
    names = " ".join(p.name for p in COMPILED)
    (source / "CMakeLists.txt").write_text(CMAKE.format(names=names))
    return cpp.built(source, out)


CMAKE = """cmake_minimum_required(VERSION 3.22)
project(documents LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(weft CONFIG REQUIRED)
foreach(name {names})
  add_executable(${{name}} ${{name}}.cpp)
  target_link_libraries(${{name}} PRIVATE weft::weft)
endforeach()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", COMPILED, ids=lambda p: p.name)
def test_cpp_block(program: Program, compiled: Path, folder: Path) -> None:
    check(program, run_programs(program.ranks, [str(compiled / program.name)], timeout=200)[0])


@pytest.mark.slow
def test_cmake_block() -> None:
    """It is the examples' own, which test_examples.py builds."""
    project = (ROOT / "examples" / "cpp" / "CMakeLists.txt").read_text()
    for program in PROGRAMS:
        for block in program.blocks() if program.language == "cmake" else []:
            assert block.text in project, f"{block.file}:{block.line} is not in examples/cpp/CMakeLists.txt"
