"""Strangers' and torn values under the keys of Weft's log in the world's store."""

import torch.distributed as dist
import weft
from faults.part import ODD, Part
from faults.row import DIFFERENT, row

PREFIX = "weft/failures/"
NAMED = r"key 'weft/failures/"
VALUES = {
    "a stranger's text": b"hello",
    "nothing": b"",
    "zeros": b"\0" * 64,
    "a writer out of range": b"99 0 99 5\nadd\nValueError\nno",
    "a negative writer": b"-7 1 0 0\nadd\nValueError\nno",
    "a torn entry": b"1 0 1",
    "a huge number": b"1 0 1 999999999999999999999999\nadd\nValueError\nno",
    "no message": b"1 0 1 3\nadd\nValueError\n",
    "not text": bytes(range(128, 256)) * 8,
}


def write(p: Part, values: dict[str, bytes]) -> None:
    """One rank writes under keys of the world's own store."""
    store = dist.distributed_c10d._get_default_store()
    if p.odd():
        for key, value in values.items():
            store.set(PREFIX + key, value)


def swapped(p: Part) -> None:
    """Makes the ranks look into the log."""
    p.check_swapped([p.rows(0), p.rows(100)])


def of_value(name: str, value: bytes) -> None:
    def program(p: Part) -> None:
        write(p, {"1": value})
        swapped(p)

    program.__name__ = "stranger_writes_" + name.replace(" ", "_").replace("'", "")
    program.__doc__ = f"{name} under the key of the log's first entry, and ranks that look there."
    row(NAMED, same=False)(program)


for name, value in VALUES.items():
    of_value(name, value)


@row(NAMED, same=False, group_timeout=3)
def stranger_writes_two_entries(p: Part) -> None:
    """strangers' values under the keys of two entries, and ranks that look there."""
    write(p, {"1": b"hello", "2": b"\xff\xfe"})
    swapped(p)


@row(r"rank 0\b|rank 1\b", same=False)
def torn_calls(p: Part) -> None:
    """torn values where the ranks tell what they ask for, and ranks that part."""
    write(p, {"calls/0": b"\x00\xff 7 7", "calls/1": b"1 2"})
    swapped(p)


@row(*DIFFERENT, same=False)
def torn_calls_of_a_stranger(p: Part) -> None:
    """a stranger's values under keys that Weft does not use, and ranks that part."""
    write(p, {"calls/99": b"7 7 7 x\n", "calls/-1": b"", "other": b"x"})
    swapped(p)


@row(NAMED, expect="either", same=False)
def stranger_writes_to_ranks_in_step(p: Part) -> None:
    """a stranger's value under the log's keys, and ranks in step, which look there only where one waits for long."""
    write(p, {"1": b"hello", "calls/0": b"\xff"})
    p.go_on()
    assert weft.world_size() == p.ranks > ODD
