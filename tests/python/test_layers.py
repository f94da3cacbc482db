"""tools/layers reads the folder of each function from the library's line numbers, whatever unit it was compiled in."""

import pathlib
import shutil
import subprocess

import pytest

LAYERS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "layers"
# Of two folders, base below layout, in one unit; declared by themselves, so that no include tells of the use.
BASE = '__attribute__((noinline)) int base_value() { asm(""); return 1; }\n'
LAYOUT = '__attribute__((noinline)) int layout_value() { asm(""); return 2; }\n'
USES = {
    "calls": ("int layout_value();\nint base_use() { return layout_value() + 1; }\n", "base uses layout_value"),
    "takes the address": ("int layout_value();\nvoid* base_use() { return (void*)&layout_value; }\n", "base uses"),
    "inlines": ("int layout_inlined();\nint base_use() { return layout_inlined() + 1; }\n", "base inlines a part of"),
}
INLINED = "int layout_inlined() { volatile int x = 3; return x * 5; }\n"

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")


def check(root, base, layout):
    """tools/layers of a tree of two sources, compiled together."""
    texts = {"csrc/layout/layout.cpp": layout, "csrc/base/base.cpp": base, "build/build.ninja": ""}
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    unit = root / "build" / "unit.cpp"
    unit.write_text("".join(f'#include "{root}/{name}"\n' for name in texts if name.endswith(".cpp")))
    library = root / "torch_ops" / "weft" / "lib" / "libweft.so"
    library.parent.mkdir(parents=True)
    flags = ["-std=c++20", "-O2", "-g1", "-fPIC", "-shared", "-fvisibility=hidden"]
    subprocess.run(["c++", *flags, str(unit), "-o", str(library)], check=True, timeout=60)
    (root / "tools").mkdir()
    tool = shutil.copy(LAYERS, root / "tools" / "layers")
    return subprocess.run([str(tool)], capture_output=True, text=True, timeout=60)


def test_uses_of_what_lies_below_pass(tmp_path):
    layout = "int base_value();\nint layout_use() { return base_value() + 1; }\n" + LAYOUT
    done = check(tmp_path, BASE, layout)
    assert done.returncode == 0 and "1 arrows between" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("use", USES)
def test_uses_of_what_lies_above_are_told(tmp_path, use):
    source, told = USES[use]
    done = check(tmp_path, BASE + source, LAYOUT + INLINED)
    assert done.returncode == 1 and told in done.stdout, done.stdout + done.stderr


def test_a_library_older_than_its_sources_is_refused(tmp_path):
    assert check(tmp_path, BASE, LAYOUT).returncode == 0
    (tmp_path / "csrc" / "base" / "base.cpp").write_text(BASE + "// changed\n")
    done = subprocess.run([str(tmp_path / "tools" / "layers")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "older than the sources" in done.stderr
