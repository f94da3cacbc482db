"""Finding and loading libweft.so: of another torch, missing, twice, and with nothing but torch.ops.load_library."""

import os
import shutil
import subprocess
import sys

import torch
import weft
from support.ranks import run_ranks

PACKAGE = os.path.dirname(os.path.dirname(weft.__file__))


def python(code, **environment):
    env = {**os.environ, "PYTHONPATH": PACKAGE, "WEFT_LIBRARY": str(weft.library_path()), **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


def test_library_for_another_torch_is_refused(tmp_path):
    (tmp_path / "libweft.so").write_text("")
    (tmp_path / "torch_version.txt").write_text("2.3.1+cpu\n")
    done = python("import weft", WEFT_LIBRARY=str(tmp_path / "libweft.so"))
    assert done.returncode == 1
    assert "was built for torch 2.3.1+cpu" in done.stderr and f"torch {torch.__version__} is loaded" in done.stderr


def test_missing_library_says_how_to_build_it(tmp_path):
    done = python("import weft", WEFT_LIBRARY=str(tmp_path / "libweft.so"))
    assert done.returncode == 1 and "tools/setup" in done.stderr


TWICE = """
import torch
torch.ops.load_library({first!r})
torch.ops.load_library({first!r})
torch.ops.load_library({second!r})
mesh = torch.classes.weft.DeviceMesh([1], ["x"])
x = torch.ops.weft.distribute_tensor(torch.ones(2, 2), torch.classes.weft.TensorLayout(("x", None), mesh))
print((x @ x).sum().item())
"""


def test_torch_save_looks_for_sharded_tensors_only_where_there_may_be_some():
    code = """
import io, torch, weft
class Counted:
    times = 0
    def __reduce__(self):
        Counted.times += 1
        return Counted, ()
torch.save([Counted(), torch.ones(2)], io.BytesIO())
print(Counted.times, end=" ")
weft.DeviceMesh((1,), ("a",))
torch.save([Counted(), torch.ones(2)], io.BytesIO())
print(Counted.times)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "3"], done.stdout + done.stderr


def test_library_loaded_twice_is_harmless(tmp_path):
    second = tmp_path / "libweft.so"
    shutil.copy(weft.library_path(), second)
    done = python(TWICE.format(first=str(weft.library_path()), second=str(second)))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "8.0\n"


DEBUG = """
import os
os.dup2(os.open({log!r} + os.environ["RANK"], os.O_CREAT | os.O_WRONLY), 2)
import torch, weft
weft.initialize()
mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
net = weft.distribute_module(torch.nn.Linear(4, 4), {{"weight": ("m", None)}}, mesh=mesh)
for _ in range(3):
    weft.full_tensor(net.weight)
"""


def test_debug_log_tells_each_variable_and_each_kind_of_collective_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DEBUG.format(log=str(tmp_path / "log")))
    run_ranks(2, script, env={"KERAS_DISTRIBUTION_DEBUG": "1"})
    lines = (tmp_path / "log1").read_text().splitlines()
    variable = [line for line in lines if "variable weight" in line]
    assert len(variable) == 1 and variable[0].startswith("[weft rank 1] debug:")
    assert "layout (m, None), local shape [2, 4], 32 bytes" in variable[0]
    assert sum("full_tensor on weight" in line for line in lines) == 1
