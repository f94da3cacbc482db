"""What all ranks would say alike one of them says."""

from pathlib import Path

from support.ranks import run_ranks

PROGRAM = """
import os; os.dup2(1, 2)
import torch, weft
from torch.distributed.tensor.debug import CommDebugMode

weft.initialize()
mesh = weft.DeviceMesh((2,), ("m",))
weft.distribute_module(torch.nn.Linear(64, 64), {"nothing": ("m", None)}, mesh=mesh)
x = weft.distribute_tensor(torch.ones(8, 8), ("m", None), mesh)
x.renorm(2, 0, 1.0)
weft.warn_relayout(bytes=0)
x + weft.distribute_tensor(torch.ones(8, 8), (None, "m"), mesh)
with CommDebugMode():
    weft.full_tensor(x)
weft.compile_graphs(False)
torch.compile(lambda x: x + 1)(x)
"""


def test_one_rank_warns(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    first, second = run_ranks(2, script)
    for code in ("W047", "W063", "W067", "W072", "W152"):
        assert first.count(f"[{code}]") == 1, first
    assert second == ""
