"""What tools/docs finds wrong, and what it makes of the public headers."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import weft
from documents.blocks import ROOT


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_site_{name}", ROOT / "tools" / "docs_site" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "tools" / "docs_site"))  # they import each other
headers, names, links, registered, errors = (
    tool(name) for name in ("headers", "names", "links", "registered", "errors")
)

HEADER = """#pragma once
// What it is for.
#include <string>

namespace weft {

struct Later;

/// Adds.
/// @param a  one,
///           of two
/// Raises nothing.
WEFT_API int add(int a, int b);
WEFT_API int add_all();

/// A thing.
class WEFT_API Thing {
 public:
  int size() const { return 1; }  // of it
};
struct Bare {
  int x = 0;
};

using Other = const Thing*;

}  // namespace weft
"""


def test_headers_become_pages(tmp_path: Path) -> None:
    about, items = headers.read(HEADER)
    assert about == "What it is for."
    assert [item.names for item in items] == [["add", "add_all"], ["Thing", "Bare"], ["Other"]]
    folder = tmp_path / "include" / "weft"
    folder.mkdir(parents=True)
    (folder / "thing.h").write_text(HEADER)
    page = headers.page(folder / "thing.h")
    assert "- `a`: one,\n  of two\n\nRaises nothing." in page and "  int size() const" in page
    assert headers.undocumented(tmp_path) == ["include/weft/thing.h:25: Other has no comment"]


def test_names_without_docstrings_are_found(tmp_path: Path) -> None:
    package = tmp_path / "torch_ops" / "weft"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('from .a import Bare, f\nfrom . import hf\n__all__ = ["Bare", "f", "hf"]\n')
    text = 'class Bare:\n    """Here."""\n    def g(self): ...\n    def _h(self): ...\ndef f(): ...\n'
    (package / "a.py").write_text(text)
    for module in ("hf", "layouts", "keras"):
        (package / f"{module}.py").write_text("__all__ = []\n")
    assert names.undocumented(tmp_path) == [
        "torch_ops/weft/a.py:3: weft.Bare.g has no docstring",
        "torch_ops/weft/a.py:5: weft.f has no docstring",
        "torch_ops/weft/hf.py:1: weft.hf has no docstring",
    ]
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "index.html").write_text('<h2 id="weft.f">')
    assert names.not_shown(tmp_path, tmp_path) == [f"weft.{name} is not in the reference" for name in ("Bare", "hf")]


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#not) [d](docs/a.md#a-heading-c)\n")
    (tmp_path / "docs" / "a.md").write_text("# A heading, C++\n[out](https://example.org)\n```\n[x](y)\n```\n")
    assert links.broken(tmp_path) == [
        "README.md: no such file: docs/b.md",
        "README.md: no such heading: docs/a.md#not",
    ]


TABLE = """
constexpr ErrorKind kKinds[] = {
    {"W001", "ValueError", "one", "a \\"cause\\"", "a way "
     "out"},
    {"W002", "RuntimeError, warning", "two", "c", "r"},
    {"W003", "Exception", "three", "c", "r"},
};
"""
CPP = """
void f(int n) {  // TORCH_CHECK(false, "in a comment")
  TORCH_CHECK_VALUE(n > g("a, (", ','), "[W001] f: ", n, " is not "
                    "above", c10::str(n, "; "), n ? "yes" : "no");
  TORCH_CHECK(false, coded("W002", c10::str("f: ", n)));
  log(LogLevel::warning, "[W002] f");
  log(LogLevel::debug, "for developers");
  const std::string told = c10::str("[W003] told of ", n);
}
"""
PYTHON = """
WHY = "[W001] why " "not"
def f(n):
    raise ValueError(WHY)
    warnings.warn(f"[W002] {n} of {n}", stacklevel=2)
    raise KeyError(coded("W003", f"f: {n}"))
    raise Own("without")
    raise
"""


def tree(root: Path, cpp: str = CPP, python: str = PYTHON) -> Path:
    for file, text in {errors.TABLE: TABLE, "csrc/f.cpp": cpp, "torch_ops/weft/f.py": python}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return root


def test_errors_are_listed(tmp_path: Path) -> None:
    root = tree(tmp_path)
    assert errors.problems(root) == []
    assert errors.kinds(root)[0] == errors.Kind("W001", ("ValueError",), "one", 'a "cause"', "a way out")
    assert [(u.place, u.code, u.type, u.text) for u in errors.uses(root)] == [
        ("csrc/f.cpp:3", "W001", "ValueError", "f: … is not above…; …"),
        ("csrc/f.cpp:5", "W002", "RuntimeError", "f: …"),
        ("csrc/f.cpp:6", "W002", "warning", "f"),
        ("csrc/f.cpp:8", "W003", "", "told of …"),
        ("torch_ops/weft/f.py:4", "W001", "ValueError", "why not"),
        ("torch_ops/weft/f.py:5", "W002", "warning", "… of …"),
        ("torch_ops/weft/f.py:6", "W003", "KeyError", "f: …"),
    ]
    page = errors.page(root)
    assert '## W001\n\n**One** (`ValueError`).\n\na "cause"\n\nWhat to do: a way out\n\n- `f: … is not' in page


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"[W001] f: "', '"f: "', "csrc/f.cpp:3: no code: f: …"),
        ('"[W001] f: "', '"[W004] f: "', "csrc/f.cpp:3: W004: f: …"),
        ('coded("W002", c10::str("f: ", n))', "text", "csrc/f.cpp:5: no code: …"),
        ('warning, "[W002] f"', 'warning, "f"', "csrc/f.cpp:6: no code: f"),
        (
            "TORCH_CHECK(false",
            "TORCH_CHECK_VALUE(false",
            "csrc/f.cpp:5: W002 is RuntimeError or warning, not ValueError: f",
        ),
        ('"[W001] why "', '"why "', "torch_ops/weft/f.py:4: no code: why not"),
        ('f"[W002] {n}', 'f"[W001] {n}', "torch_ops/weft/f.py:5: W001 is ValueError, not warning: … of …"),
        ("raise Own(", "raise TypeError(", "torch_ops/weft/f.py:7: no code: without"),
        ('"[W003] told', '"told', "csrc/base/error_table.cpp: nothing has the code W003"),
    ],
)
def test_errors_without_a_right_code_are_found(tmp_path: Path, old: str, new: str, problem: str) -> None:
    python = (
        PYTHON if "W003" not in new + old else PYTHON.replace('coded("W003", f"f: {n}")', "WHY").replace("Key", "Value")
    )
    assert (old in CPP) != (old in python)
    found = errors.problems(tree(tmp_path, CPP.replace(old, new), python.replace(old, new)))
    assert [line for line in found if line.startswith(problem)], found


def test_order_of_codes(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / errors.TABLE).write_text(TABLE.replace('"W002"', '"W001"'))
    assert f"{errors.TABLE}: W001 comes after W001" in errors.problems(root)


def test_documents_are_in_order() -> None:
    done = subprocess.run([ROOT / "tools" / "docs", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help() -> None:
    done = subprocess.run([ROOT / "tools" / "docs", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--strict" in done.stdout


OPS = """
  // Does
  // it.
  def("one(Tensor x, " WEFT_CLASS "DeviceMesh mesh) -> ()",
      [](const at::Tensor&) {});
  def("two() -> int", &two);
  def("_own() -> ()", []() {});
"""


def test_registered_ops_become_a_page(tmp_path: Path) -> None:
    (tmp_path / "torch_ops").mkdir()
    (tmp_path / "torch_ops" / "ops.cpp").write_text(OPS)
    page = registered.page(tmp_path, ["two"])
    assert "### one\n\n```text\none(Tensor x, DeviceMesh mesh) -> ()\n```\n\nDoes it." in page
    assert "As [`weft.two`](python.md#weft.two)." in page and "_own" not in page
    assert registered.undocumented(tmp_path, ["two"]) == []
    assert registered.undocumented(tmp_path, []) == ["torch_ops/ops.cpp:6: torch.ops.weft.two has no comment"]


def test_the_page_has_what_is_registered() -> None:
    schemas = torch._C._jit_get_all_schemas()
    there = {s.name.removeprefix("weft::") for s in schemas if s.name.startswith("weft::")}
    assert there and there == {op.name for op in registered.ops(ROOT)}
    assert "full_tensor(Tensor tensor) -> Tensor" in {op.schema for op in registered.ops(ROOT)}
    classes = {one.name: one.methods for one in registered.classes(ROOT)}
    mesh = weft.DeviceMesh((1,), ("x",))._object
    assert set(classes["DeviceMesh"]) == {m for m in mesh._method_names() if not m.startswith("__")}
