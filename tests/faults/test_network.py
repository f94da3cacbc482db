"""Ranks in two networks, and a bad cable between them: the right numbers, or an error on all ranks in time."""

import datetime
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
import weft
from support.ranks import RankPool
from support.wire import ADDRESSES, DEVICE, Wire, missing

TIMEOUT = 6  # seconds that a collective may take
SLACK = 8  # seconds after it in which all have raised: the store gets five
LIMIT = 30  # seconds of any case once the ranks are up
STEPS = 12
PAUSE = 0.02  # seconds of each step in which nothing is on the cable
FIRST = 2  # steps before anything happens to the cable
REASON = missing()

pytestmark = [pytest.mark.skipif(bool(REASON), reason=REASON), pytest.mark.timeout(90)]

training: Iterator[float]  # of a rank


def losses(mesh=None) -> Iterator[float]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    batches = [(torch.randn(8, 6), torch.randn(8, 3)) for _ in range(4)]
    if mesh:
        layouts = weft.LayoutMap(mesh, {"0/weight": ("model", None), "2/weight": (None, "model")})
        weft.distribute_module(model, layouts)
        batches = [weft.shard_batch(batch, mesh, "data") for batch in batches]
    while True:
        for x, y in batches:
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            with torch.no_grad():  # by hand: torch.optim imports torch.compile, which takes each rank seconds
                for parameter in model.parameters():
                    parameter -= 0.2 * parameter.grad
            model.zero_grad()
            yield loss.item()


def take(steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(next(training))
        time.sleep(PAUSE)
    return found


def begin(each: int) -> list[float]:
    """Both axes of four ranks are used, one of them over the cable."""
    global training
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=TIMEOUT))
    training = losses(weft.DeviceMesh((each, 2), ("data", "model"), device_type="cpu"))
    return take(FIRST)


def take_until_error() -> tuple[str, str, float]:
    """Its type, its text, and when it came."""
    start = time.monotonic()
    try:
        take(10_000)
    except Exception as e:
        return type(e).__name__, str(e), time.monotonic() - start
    raise AssertionError("no error")


def on_ranks(wire: Wire, each: int) -> RankPool:
    """The first half of the ranks is in the first network; one of them has the job's store."""
    pool = RankPool(2 * each, init=False, env={"MASTER_ADDR": ADDRESSES[0], "GLOO_SOCKET_IFNAME": DEVICE})
    pool.inside = [wire.inside(side) for side in (0, 1) for _ in range(each)]
    return pool


def check_losses(first: list[list[float]], rest: list[list[float]]) -> None:
    plain = losses()
    expected = [next(plain) for _ in range(STEPS)]
    for a, b in zip(first, rest, strict=True):  # of each rank
        torch.testing.assert_close(a + b, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cable", "each"), [({"delay": 0.02}, 2), ({"loss": (0.05, 0.05)}, 1)], ids=["delay", "loss"])
def test_bad_cable(cable: dict, each: int) -> None:
    with Wire() as wire, on_ranks(wire, each) as pool:
        vars(wire).update(cable)
        start = time.monotonic()
        check_losses(pool(begin, each, timeout=LIMIT / 2), pool(take, STEPS - FIRST, timeout=LIMIT / 2))
        took = time.monotonic() - start
        assert min(wire.lost) > 0 if wire.loss[0] else took > 2 * STEPS * wire.delay, "the cable was good"


def test_cut_for_two_seconds() -> None:
    with Wire() as wire, on_ranks(wire, 1) as pool:
        first = pool(begin, 1, timeout=LIMIT)
        threading.Timer(5 * PAUSE, wire.plug, (0, False)).start()
        threading.Timer(5 * PAUSE + 2, wire.plug, (0, True)).start()
        start = time.monotonic()
        rest = pool(take, STEPS - FIRST, timeout=LIMIT)
        assert time.monotonic() - start > 2, "the cut came after the last step"
        check_losses(first, rest)


def unplug(wire: Wire) -> None:
    wire.plug(1, False)


def lose_all(wire: Wire) -> None:
    wire.loss = (1, 1)


def lose_one_way(wire: Wire) -> None:
    wire.loss = (1, 0)


@pytest.mark.parametrize(("cut", "each"), [(unplug, 1), (lose_one_way, 1), (lose_all, 2)])
def test_cut_for_good(cut: Callable[[Wire], None], each: int) -> None:
    with Wire() as wire, on_ranks(wire, each) as pool:
        pool(begin, each, timeout=LIMIT)
        threading.Timer(5 * PAUSE, cut, (wire,)).start()
        for rank, (error, text, took) in enumerate(pool(take_until_error, timeout=LIMIT)):
            assert error == "RuntimeError" and took < TIMEOUT + SLACK, (took, text)
            missing_ranks = re.match(r"\[W092\] ranks? ([0-9, ]+) ha(?:s|ve) not come to collective number \d+, ", text)
            if rank < each and missing_ranks:  # they have the job's store, where the others are silent
                named = set(map(int, missing_ranks[1].split(",")))
                waits_for_one = re.search(r"last seen in number \d+, [^;]* over 'data'", text)
                beyond = named <= set(range(each, 2 * each))
                assert beyond or (waits_for_one and rank not in named), text
            else:
                assert re.match(r"\[W093\] collective number [0-9]+, .* cannot be finished: ", text), text
                assert rank < each or "the job's store, which rank 0 or torchrun keeps, is gone" in text, text
