"""What `tools/gpu --pack` makes is enough, beside torch, where there is neither RE2 nor a JSON library nor network."""

import os
import re
import subprocess
import sys

import pytest
from support.cpp import ROOT

PACK = ROOT / "out" / "gpu-pack"
# Where the system's own are, an empty folder stands; what is found by name alone, the linker's path, is left.
HIDDEN = """
set -e
mount --make-rprivate /
for folder in /usr/include/re2 /usr/include/nlohmann /usr/share/cmake/nlohmann_json /usr/lib/cmake/nlohmann_json; do
  [ ! -d $folder ] || mount -t tmpfs none $folder
done
exec "$@"
"""
PROGRAM = """
#include <nlohmann/json.hpp>
#include <re2/re2.h>
int main() { return RE2::FullMatch(nlohmann::json::parse("[\\"aab\\"]")[0].get<std::string>(), "a*b") ? 0 : 1; }
"""


def in_a_bare_place(*command: object) -> None:
    environment = os.environ | {"CMAKE_PREFIX_PATH": str(PACK)}
    wanted = ["unshare", "--mount", "--net", "bash", "-c", HIDDEN, "bash", *map(str, command)]
    done = subprocess.run(wanted, capture_output=True, text=True, timeout=250, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="hides folders of the system, which needs root")
@pytest.mark.slow
def test_pack(tmp_path):
    subprocess.run([ROOT / "tools" / "gpu", "--pack", "--python", sys.executable], check=True, capture_output=True)
    assert sum(f.stat().st_size for f in PACK.rglob("*") if f.is_file()) < 64 << 20
    assert not [f for f in PACK.rglob("*") if f.is_symlink()]  # links may lead out of the folder

    options = ["-DWEFT_CUDA=OFF", "-DWEFT_TESTS=OFF", f"-DWEFT_PYTHON={sys.executable}"]
    in_a_bare_place("cmake", "-S", ROOT, "-B", tmp_path / "build", *options)
    cache = (tmp_path / "build" / "CMakeCache.txt").read_text()
    for name in ("RE2_INCLUDE_DIR", "RE2_SHARED", "nlohmann_json_DIR"):
        (found,) = re.findall(rf"^{name}:\w+=(.*)$", cache, re.MULTILINE)
        assert found.startswith(str(PACK)), f"{name} is {found}"

    (tmp_path / "program.cpp").write_text(PROGRAM)
    include, library = f"-I{PACK}/include", [f"-L{PACK}/lib", f"-Wl,-rpath,{PACK}/lib", "-l:libre2.so"]
    in_a_bare_place("c++", "-std=c++20", include, tmp_path / "program.cpp", "-o", tmp_path / "program", *library)
    in_a_bare_place(tmp_path / "program")
