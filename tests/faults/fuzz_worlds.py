"""What tools/fuzz runs in processes of their own: each input needs a fresh one, or two."""

import datetime
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from fuzz import Input, wrong_refusal
from support.mutate import Mutator

LEVELS = ["error", "warning", "info", "debug"]
FORK = multiprocessing.get_context("fork")
TIMEOUT = 4  # seconds, of a group
SLOW = 3 * TIMEOUT + 10  # seconds in which each rank has ended
LATE = 0.4  # seconds by which one rank lets the other wait, which then looks into the store
LONGEST_OUTPUT = 2000
ENTRIES = [
    "1 0 1 2\nembedding\nIndexError\nindex out of range",
    "1 1 -1 3\n\nValueError\nthe ranks ask for different collectives",
    "0 0 0 0\nop\nRuntimeError\nmessage",
    "-1 0 0 0\n\n\n",
    "1 0 1 9223372036854775807\nop\nNoSuchError\nmessage",
]
CALLS = [
    "0 123 4 the making of process groups\n1 456 8 all_reduce sum over 'x' of mesh (x=2)\n\x1emm\nrelu\n", "\x1e",
    "-1 0 0 x\n2 99 1 broadcast\n\x1e0 mm", "9223372036854775807 18446744073709551615 -1 w\n\x1e",
]  # fmt: skip
NUMBERS = ["0", "1", "2", "-1", "1000000"]


def log_levels(rng: random.Random) -> Iterator[Input]:
    mutator = Mutator(rng, [*LEVELS, "DEBUG", "Warning", "0", "1", "off", "yes"])

    def value() -> bytes | None:
        return rng.choice((None, mutator.data().replace(b"\0", b"")))

    def check(level: bytes | None, debug: bytes | None) -> bool:
        reading, writing = os.pipe()
        process = FORK.Process(target=_log, args=(level, debug, writing))
        process.start()
        os.close(writing)
        with os.fdopen(reading, "rb") as f:
            output = f.read()
        process.join()
        assert process.exitcode == 0, f"ended with code {process.exitcode}: {output[-500:]!r}"
        assert len(output) < LONGEST_OUTPUT, f"{len(output)} bytes of output: {output[:200]!r}..."
        assert output.startswith(b"[weft rank 0] "), output
        known = (level or b"warning").lower().decode(errors="replace") in LEVELS
        assert known != (b"is not a level" in output), output
        return known

    while True:
        yield Input(check, value(), value())


def _log(level: bytes | None, debug: bytes | None, output: int) -> None:
    for name, value in ((b"WEFT_LOG", level), (b"KERAS_DISTRIBUTION_DEBUG", debug)):
        os.environb.pop(name, None)
        if value is not None:
            os.environb[name] = value
    os.dup2(output, 2)
    import weft  # which reads them

    x = weft.distribute_tensor(torch.ones(2, 2), ("a", None), weft.DeviceMesh((1,), ("a",), device_type="cpu"))
    torch.renorm(x, 2, 0, 1.0)  # has no rule, of which a warning tells
    os._exit(0)


def store(rng: random.Random) -> Iterator[Input]:
    """Both ranks have the right value, or both raise."""
    import weft  # noqa: F401  once for all ranks

    entries, calls, numbers = Mutator(rng, ENTRIES), Mutator(rng, CALLS), Mutator(rng, NUMBERS)
    keys = {"1": entries, "2": entries, "count": numbers, "calls/0": calls, "calls/1": calls, "difference": numbers}

    def check(values: dict[str, bytes]) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            ends = [_start(rank, os.path.join(folder, "store"), values) for rank in range(2)]
            try:
                found = [_outcome(*end) for end in ends]
            finally:
                for process, _ in ends:
                    process.kill()
                    process.join()
        for rank, (error, text) in enumerate(found):
            assert error or text == "2.0", f"rank {rank} has {text}"
            assert not error or not wrong_refusal(error), f"rank {rank}: {wrong_refusal(error)}"
        assert bool(found[0][0]) == bool(found[1][0]), f"one rank alone raises: {found}"
        return not found[0][0]

    while True:
        some = rng.sample(sorted(keys), rng.choice((1, 1, 2, 3)))
        yield Input(check, {key: keys[key].data() for key in some})


def _outcome(process: Any, pipe: Any) -> tuple[Exception | None, str]:
    """A rank's error, or else its value."""
    assert pipe.poll(SLOW), "a rank has not ended"
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"a rank has ended with code {process.exitcode}") from None


def _start(rank: int, path: str, values: dict[str, bytes]) -> tuple[Any, Any]:
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_rank, args=(rank, path, values, there), daemon=True)
    process.start()
    there.close()
    return process, here


def _rank(rank: int, path: str, values: dict[str, bytes], reply: Any) -> None:
    signal.alarm(2 * SLOW)  # also where nobody is left to end it
    try:
        reply.send((None, _sum(rank, path, values)))
    except Exception as e:
        reply.send((e, ""))
    os._exit(0)


def _sum(rank: int, path: str, values: dict[str, bytes]) -> str:
    import weft

    job = dist.FileStore(path, 2)
    dist.init_process_group("gloo", store=job, rank=rank, world_size=2, timeout=datetime.timedelta(seconds=TIMEOUT))
    ones = weft.distribute_tensor(torch.ones(2), ("x",), weft.DeviceMesh((2,), ("x",), device_type="cpu"))
    if rank == 0:
        log = dist.PrefixStore("weft/failures", dist.distributed_c10d._get_process_group_store(dist.group.WORLD))
        for key, value in values.items():
            log.set(key, value)
    else:
        time.sleep(LATE)
    return str(ones.sum().item())
