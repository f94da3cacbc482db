"""Timeouts: what is taken, and what groups get."""

import datetime

import pytest
import torch
import torch.distributed as dist
import weft
from support.environment import NAMES, adopt
from support.ranks import run_ranks


@pytest.fixture
def no_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


BAD_TIMES = [0, -1, 0.0001, 1e9, 10**400, float("nan"), float("inf"), datetime.timedelta(0), datetime.timedelta(-1)]


@pytest.mark.parametrize("name", ["timeout", "first_timeout"])
@pytest.mark.parametrize("value", BAD_TIMES + [True, "5", [1]], ids=str)
def test_bad_timeouts(no_environment, name, value):
    before = torch.ops.weft.timeouts()
    with pytest.raises(ValueError, match=f"initialize: {name} (is .*0.001 to 2073600|must be seconds or a timedelta)"):
        weft.initialize(**{name: value})
    assert torch.ops.weft.timeouts() == before and not dist.is_initialized()


@torch.jit.script
def scripted_timeouts():
    torch.ops.weft.initialize(None, 1, 0, 7.5, 90.0)
    return torch.ops.weft.timeouts()


def test_timeouts_alone(no_environment):
    before = torch.ops.weft.timeouts()
    weft.initialize(timeout=5, first_timeout=datetime.timedelta(minutes=2))
    assert torch.ops.weft.timeouts() == (5.0, 120.0)
    weft.initialize(timeout=2.5)
    assert torch.ops.weft.timeouts() == (2.5, 120.0)
    assert scripted_timeouts() == (7.5, 90.0)
    with pytest.raises(Exception, match="timeout is -1 seconds"):
        torch.ops.weft.initialize(timeout=-1.0)
    torch.ops.weft.set_timeouts(*before)


def times_of_the_group():
    return dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds()


def with_timeouts():
    weft.initialize(timeout=20, first_timeout=datetime.timedelta(seconds=50))
    made = times_of_the_group()
    weft.initialize(timeout=70)
    return made, times_of_the_group(), torch.ops.weft.timeouts(), adopt()[3]


def test_timeouts_of_a_new_group():
    assert run_ranks(2, with_timeouts, init=False) == [(50.0, 70.0, (70.0, 50.0), 3.0)] * 2


def with_timeouts_of_the_programs_group():
    weft.initialize()
    kept = times_of_the_group()
    long = datetime.timedelta(hours=2)
    dist.group.WORLD._get_backend(torch.device("cpu"))._set_default_timeout(long)
    weft.initialize(timeout=20)
    half_given = times_of_the_group()
    weft.initialize(timeout=20, first_timeout=50)
    message = ""
    try:  # on one rank alone
        weft.initialize(timeout=[20, -20][weft.rank()])
    except ValueError as e:
        message = str(e)
    return kept, half_given, times_of_the_group(), message, adopt()[3]


def test_timeouts_of_a_group_that_is_there():
    for kept, half_given, set_to, message, total in run_ranks(2, with_timeouts_of_the_programs_group):
        assert kept == 1800.0 and half_given == 7200.0 and set_to == 50.0 and total == 3.0
        assert "rank 1 differs from rank 0" in message
