"""The helper that runs tests on ranks must itself never hang and never lose an error."""

import gc
import os
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.ranks import RankPool, run_programs, run_ranks


@pytest.fixture(scope="module", params=[True, False], ids=["forked", "started"])
def pool(request):
    with RankPool(2, import_weft=request.param) as p:
        yield p


def total(start):
    t = torch.tensor([float(start + dist.get_rank())])
    dist.all_reduce(t)
    return dist.get_rank(), t


def hang_in_collective():
    if dist.get_rank() == 0:
        dist.all_reduce(torch.ones(1))  # rank 1 never joins, but answers
    return os.getpid()


def hang_in_python():
    print("about to hang")
    while True:
        time.sleep(0.01)


def raise_on_rank_1():
    if dist.get_rank() == 1:
        raise ValueError("the message of rank one")
    dist.barrier()


def die():
    if dist.get_rank() == 1:
        os.abort()
    return 3


def unpicklable():
    return lambda: None


class Point:
    def __init__(self, x):
        self.x = x


def moved(point):
    return Point(point.x + dist.get_rank())


def environment():
    return os.environ["RANK"], os.environ["WORLD_SIZE"], torch.get_num_threads(), dist.is_initialized()


def draw():
    return torch.rand(3)


def test_value_per_rank(pool):
    (rank0, sum0), (rank1, sum1) = pool(total, 10)
    assert (rank0, rank1) == (0, 1)
    assert sum0.item() == sum1.item() == 21.0


def test_classes_of_the_test_module_travel(pool):
    assert [p.x for p in pool(moved, Point(3))] == [3, 4]


def test_processes_are_kept_and_seeded(pool):
    first = pool(draw)
    pids = pool.pids()
    second = pool(draw)
    assert pool.pids() == pids
    assert all(torch.equal(first[0], t) for t in first + second)


def test_hang_in_a_collective_is_killed_and_its_stack_shown(pool):
    pool(total, 0)
    pids = pool.pids()
    began = time.monotonic()
    with pytest.raises(AssertionError) as e:
        pool(hang_in_collective, timeout=2)
    assert time.monotonic() - began < 6
    message = str(e.value)
    assert "not done after 2 s" in message
    assert "rank 0: still running, killed" in message and "rank 1: ok" in message
    assert "hang_in_collective" in message.split("rank 0:")[1]  # the Python stack
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_hang_in_python_shows_output_and_stacks_of_all_ranks(pool):
    with pytest.raises(AssertionError) as e:
        pool(hang_in_python, timeout=1)
    message = str(e.value)
    assert message.count("in hang_in_python") == 2
    assert message.count("about to hang") == 2


def test_exception_is_reported_with_its_rank_and_the_pool_works_again(pool):
    began = time.monotonic()
    with pytest.raises(AssertionError) as e:
        pool(raise_on_rank_1, timeout=60)
    assert time.monotonic() - began < 30  # a grace for the others, not the whole timeout
    of_rank_1 = str(e.value).split("rank 1: FAILED")[1]
    assert "ValueError: the message of rank one" in of_rank_1
    assert "raise_on_rank_1" in of_rank_1
    assert pool(total, 0)[1][1].item() == 1.0


def test_death_of_a_rank_is_reported(pool):
    with pytest.raises(AssertionError, match="rank 1: FAILED\nthe process ended: SIGABRT"):
        pool(die)


def test_value_that_cannot_travel_is_an_error(pool):
    with pytest.raises(AssertionError, match="pickle"):
        pool(unpicklable)


def test_nested_function_is_refused(pool):
    with pytest.raises(ValueError, match="top-level"):
        pool(lambda: 1)


def unfrozen():
    return len(gc.get_objects()), gc.get_freeze_count()


def test_collections_pass_over_what_was_imported(pool):
    for tracked, frozen in pool(unfrozen):
        assert frozen > 10 * tracked > 0


def test_run_ranks_without_group():
    assert run_ranks(2, environment, init=False, import_weft=False) == [("0", "2", 1, False), ("1", "2", 1, False)]


def test_failed_import_is_reported(tmp_path: Path):
    (tmp_path / "weft.py").write_text("raise ImportError('no library here')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(AssertionError, match="no library here"):
            run_ranks(1, environment)
    finally:
        sys.path.remove(str(tmp_path))


def test_script(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(os.environ['RANK'], *sys.argv[1:])\n")
    assert run_ranks(2, script, ["a", 1]) == ["0 a 1\n", "1 a 1\n"]
    script.write_text("import sys\nprint('before')\nsys.exit(3)\n")
    with pytest.raises(AssertionError, match="(?s)SystemExit: 3.*before"):
        run_ranks(1, script)


def test_programs():
    assert run_programs(2, ["sh", "-c", "echo $RANK of $WORLD_SIZE"]) == ["0 of 2\n", "1 of 2\n"]
    with pytest.raises(AssertionError, match="(?s)rank 0: exit code 0.*rank 1: exit code 7.*bad luck"):
        run_programs(2, ["sh", "-c", "[ $RANK = 0 ] || { echo bad luck; exit 7; }"])
    began = time.monotonic()
    with pytest.raises(AssertionError, match="not done after 0.5 s"):
        run_programs(2, ["sleep", "30"], timeout=0.5)
    assert time.monotonic() - began < 5
