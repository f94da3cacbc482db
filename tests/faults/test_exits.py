"""Programs end in order: with their own exit code, without an abort, and soon, also where the machine is busy.

WEFT_TEST_ROUNDS=7 runs each program seven times, which is 224 ends; once by default.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENDS = str(Path(__file__).with_name("ends.py"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
ROUNDS = int(os.environ.get("WEFT_TEST_ROUNDS", "1"))
LONGEST = 2.0  # seconds from the last statement until Python finalizes: the rest is Python's own, and torch's
LIMIT = 120 + 120 * ROUNDS
CODES = {
    "initialize": [0, 0, 0, 0],
    "train": [0, 0, 0, 0],
    "train_and_destroy": [0, 0, 0, 0],
    "raise_error": [1, 1, 1, 1],
    "exit_3": [3, 3, 3, 3],
    "leave_pending": [0, 0, 0, 0],
    "leave_unanswered": [0, 0, 0, 0],
    "lose_a_rank": [0, 0, 0, -9],
}


@pytest.fixture(scope="module", autouse=True)
def busy_cores() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.fixture(scope="module")
def ends(busy_cores: None) -> list:
    command = [sys.executable, ENDS, str(ROUNDS), *CODES]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=LIMIT)
    assert done.returncode == 0
    return json.loads(done.stdout)


@pytest.mark.parametrize("program", CODES)
@pytest.mark.timeout(LIMIT)
def test_ends(ends: list, program: str) -> None:
    mine = [end[1:] for end in ends if end[0] == program]
    assert len(mine) == 4 * ROUNDS
    wrong = [f"rank {rank}: exit code {code}\n{text}" for rank, code, *_, text in mine if code != CODES[program][rank]]
    assert not wrong, "\n".join(wrong)
    assert max(seconds for _, _, seconds, *_ in mine) < LONGEST


@pytest.mark.parametrize("program", ["train", pytest.param("fit", marks=pytest.mark.slow)])
def test_ends_under_torchrun(program: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", ENDS, program]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
