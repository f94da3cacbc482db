"""torchrun starts a job again whose rank was killed: it goes on with the losses of one that was not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(__file__).with_name("restarts.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]


def losses(folder: Path, *arguments: str) -> tuple[str, str]:
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLOO_SOCKET_IFNAME": "lo"}
    command = [*TORCHRUN, PROGRAM, str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "losses").read_text(), done.stderr


@pytest.mark.slow
def test_killed_rank(tmp_path: Path) -> None:
    usual, _ = losses(tmp_path / "usual")
    restarted, errors = losses(tmp_path / "killed", "kill")
    assert restarted == usual and len(usual.splitlines()) == 6
    assert "SIGKILL" in errors or "Signal 9" in errors or "exitcode: -9" in errors, errors
