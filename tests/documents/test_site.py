"""What tools/docs finds wrong, and what it makes of the public headers."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch
import weft
from documents.blocks import ROOT


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_site_{name}", ROOT / "tools" / "docs_site" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


headers, names, links, registered = tool("headers"), tool("names"), tool("links"), tool("registered")

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
