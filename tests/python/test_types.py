"""The type hints refuse what the package refuses when it runs, and take what it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import torch, weft
mesh = weft.DeviceMesh((2,), ("model",))
layouts = weft.LayoutMap(mesh)
layouts["a"] = ("model", None)
layouts["b"] = [("model",), None]
layouts["c"] = weft.TensorLayout(["model", None], mesh)
layouts["d"] = "model"  # wrong
plan = {"e": ("model", None), "f": (None,)}
weft.LayoutMap(mesh, plan)
weft.LayoutMap(mesh, {"e": "model"})  # wrong
weft.distribute_module(torch.nn.Linear(2, 2), plan, mesh=mesh)
weft.distribute_module(torch.nn.Linear(2, 2), {"e": "model"}, mesh=mesh)  # wrong
weft.distribute_tensor(torch.ones(2), ("model",), mesh)
weft.distribute_tensor(torch.ones(2), "model", mesh)  # wrong
weft.TensorLayout("model", mesh)  # wrong
weft.DeviceMesh([2], ["model"])
weft.DeviceMesh((2,), "model")  # wrong
"""


@pytest.mark.slow
def test_a_name_where_names_are_meant(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, done.stdout + done.stderr
