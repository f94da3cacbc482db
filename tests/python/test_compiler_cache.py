"""The compiler cache: another clone compiles nothing, and takes nothing that is not of its own sources and flags."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cpp import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("ccache"), reason="needs ccache")

# Built as the library is: a precompiled header, and units whose texts name their sources by whole paths.
PROJECT = {
    "CMakeLists.txt": f"""
cmake_minimum_required(VERSION 3.22)
project(program LANGUAGES CXX)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 $ENV{{FLAGS}}")
include({ROOT}/tools/cmake/CompilerCache.cmake)
add_library(library INTERFACE IMPORTED)
set(library ${{PROJECT_SOURCE_DIR}}/library CACHE PATH "")
set_target_properties(library PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${{library}}/headers)
weft_link_headers(library ${{library}})
add_executable(program main.cpp part.cpp other.cpp)
target_link_libraries(program PRIVATE library)
target_precompile_headers(program PRIVATE ${{PROJECT_SOURCE_DIR}}/pch.h)
target_compile_options(program PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
set_source_files_properties(part.cpp other.cpp PROPERTIES UNITY_GROUP parts)
set_target_properties(program PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
""",
    "library/headers/given.h": "inline int given() { return 1; }\n",
    "pch.h": "#include <iostream>\n\n#include <given.h>\n",
    "main.cpp": """
int part();
int other();
const char* file();
int main() { std::cout << part() << other() << file(); }
""",
    "part.cpp": "int part() { return given(); }\nconst char* file() { return __FILE__; }\n",
    "other.cpp": "#ifndef OTHER\n#define OTHER 2\n#endif\nint other() { return OTHER; }\n",
}
ALL = 3  # the precompiled header, main.cpp, the unit


def clone(folder: Path, **changed: str) -> Path:
    for name, text in {**PROJECT, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def build(tmp_path):
    """Builds a clone: what its program prints, and how many compilations were not in the cache."""

    def built(source: Path, flags: str = "", *settings: str) -> tuple[str, int]:
        log = source / "log"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "CCACHE_DIR": str(tmp_path / "cache"), "CCACHE_STATSLOG": str(log), "FLAGS": flags}
        out = source / "build"
        for command in (
            ["cmake", "-S", source, "-B", out, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *settings],
            ["cmake", "--build", out],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
            assert done.returncode == 0, done.stdout + done.stderr
        printed = subprocess.run([out / "program"], capture_output=True, text=True, check=True, timeout=60).stdout
        lines = log.read_text().splitlines()
        found = sum(line in ("direct_cache_hit", "preprocessed_cache_hit") for line in lines)
        missed = lines.count("cache_miss")
        assert found + missed == sum(line.startswith("# ") for line in lines) == ALL, lines
        return printed, missed

    return built


def test_another_clone_compiles_nothing(tmp_path, build):
    assert build(clone(tmp_path / "one")) == ("12part.cpp", ALL)
    assert build(clone(tmp_path / "with" / "another name")) == ("12part.cpp", 0)


def test_nor_does_one_whose_library_lies_elsewhere(tmp_path, build):
    assert build(clone(tmp_path / "one")) == ("12part.cpp", ALL)
    shutil.move(clone(tmp_path / "two") / "library", tmp_path / "library")
    assert build(tmp_path / "two", "", f"-Dlibrary={tmp_path}/library") == ("12part.cpp", 0)


def test_what_was_built_again_another_clone_takes(tmp_path, build):
    one = clone(tmp_path / "one")
    build(one)
    changed = {"pch.h": PROJECT["pch.h"] + "#include <vector>\n"}
    (one / "log").unlink()
    assert build(clone(one, **changed)) == ("12part.cpp", ALL)  # there is a precompiled header already, an old one
    assert build(clone(tmp_path / "two", **changed)) == ("12part.cpp", 0)


def test_what_differs_is_compiled(tmp_path, build):
    build(clone(tmp_path / "one"))
    changed = {"other.cpp": "int other() { return 3; }\n"}
    assert build(clone(tmp_path / "source", **changed)) == ("13part.cpp", 1)
    header = {"library/headers/given.h": "inline int given() { return 7; }\n"}
    assert build(clone(tmp_path / "header", **header)) == ("72part.cpp", ALL)
    assert build(clone(tmp_path / "flags"), "-DOTHER=4") == ("14part.cpp", ALL)


def test_a_damaged_entry_is_compiled_anew(tmp_path, build):
    build(clone(tmp_path / "one"))
    entries = [file for file in (tmp_path / "cache").rglob("*R") if file.is_file()]  # results
    assert len(entries) >= ALL
    for file in entries:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    assert build(clone(tmp_path / "two")) == ("12part.cpp", ALL)
