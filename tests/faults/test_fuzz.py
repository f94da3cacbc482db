"""What tools/fuzz does, in short and always the same; and that it finds what it is there to find."""

import ctypes
import functools
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz  # noqa: E402

INPUTS = 1500


@pytest.fixture(scope="module")
def outputs() -> dict[str, str]:
    """What all targets print, from one process, so that torch is imported once."""
    command = [sys.executable, fuzz.__file__, "--seed=1", f"--inputs={INPUTS}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=240)
    return dict(re.findall(r"^\[\d+/\d+\] (\w+)([^\0]*?)(?=^\[|\Z)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_target(outputs: dict[str, str], target: str) -> None:
    output = outputs[target]
    assert "FAULT" not in output, output
    inputs, taken = map(int, re.findall(r"(\d+) inputs, (\d+) taken", output)[0])
    assert inputs == INPUTS // fuzz.COSTS.get(target, 1) and taken > 0


def give(check: Callable[[int], bool], _: random.Random) -> Iterator[fuzz.Input]:
    for number in range(5):
        yield fuzz.Input(check, number)


def failing_at_3(failure: Callable[[], object]) -> Callable[[int], bool]:
    def check(number: int) -> bool:
        if number == 3:
            failure()
        return number % 2 == 0

    return check


def refuse(kind: type, text: str) -> None:
    raise kind(text)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (functools.partial(ctypes.string_at, 0), "SIGSEGV"),
        (functools.partial(ctypes.CDLL(None).abort), "SIGABRT"),
        (functools.partial(all, iter(lambda: 1, 0)), "processor's time"),
        (functools.partial(time.sleep, 60), "took more than"),
        (functools.partial(refuse, ValueError, " "), "without a message"),
        (functools.partial(refuse, RuntimeError, "x" * 2001), "2001 characters"),
        (functools.partial(refuse, ValueError, "stoi"), "no message of Weft's"),
        (functools.partial(refuse, IndexError, "index"), "IndexError"),
        (functools.partial(refuse, AssertionError, "told again as"), "told again as"),
    ],
    ids=["crash", "abort", "loop", "hang", "silent", "long", "leak", "kind", "round_trip"],
)
def test_faults_are_found(failure: Callable[[], object], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CPU_SECONDS", 0.3)
    monkeypatch.setattr(fuzz, "SECONDS", 5.0 if "processor" in words else 1.0)
    outcome = fuzz.run(functools.partial(give, failing_at_3(failure)), seed=0, seconds=30)
    assert words in outcome.fault and outcome.last == "(3,)", outcome


def test_inputs_that_are_fine() -> None:
    refusing = failing_at_3(functools.partial(refuse, ValueError, "3 is not allowed"))
    outcome = fuzz.run(functools.partial(give, refusing), seed=0, seconds=30)
    assert (outcome.fault, outcome.taken, outcome.refused) == ("", 3, 2)
