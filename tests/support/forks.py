"""Runs programs whose ranks are expected to fail, die or hang: each rank is a fork of a process that has imported all.

    with Forks() as forks:
        for rank in forks(2, fn, *args):      # fn(tell, *args) on each of two ranks, with a Gloo world of their own
            rank.events, rank.exit, rank.hung, rank.output

A world costs some tenths of a second, as nothing is imported again. What ranks tell arrives as it is told, also from
one that is killed later. All ranks live until each has come to its end: a closed socket would tell the others.
"""

import inspect
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START_TIMEOUT = 120.0  # seconds
GRACE = 30.0  # seconds for the forks' parent to end ranks that hang
ZYGOTE = Path(__file__).with_name("forks_zygote.py")


@dataclass
class Event:
    kind: str  # "raised" and "over" are the harness's own; others are the program's
    time: float  # of the machine's monotonic clock, the same for all processes
    data: tuple = ()


@dataclass
class RankEnd:
    events: list[Event] = field(default_factory=list)
    exit: int = 0  # a negative number: the signal that ended it
    hung: str = ""  # at what: its program, or its exit
    output: str = ""

    def of(self, kind: str) -> list[Event]:
        return [e for e in self.events if e.kind == kind]


@dataclass
class World:
    """What the forks' parent is asked for."""

    ranks: int
    target: tuple[str, str, str]
    arguments: bytes
    timeout: float
    group_timeout: float
    absent: tuple[int, ...]
    env: Mapping[str, str]


class Forks:
    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()
        common = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONUNBUFFERED": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(ZYGOTE), str(theirs.fileno())],
                env={"PYTHONHASHSEED": "0", **os.environ, **common, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        self._conn = Connection(ours.detach())
        self._conn.send(sys.path)
        self._receive(START_TIMEOUT)

    def __call__(
        self,
        ranks: int,
        fn: Callable,
        *args: Any,
        timeout: float = 30,
        group_timeout: float = 10,
        absent: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> list[RankEnd]:
        """Runs the top-level function `fn(tell, *args)` on all ranks and returns how each ended.

        `timeout`: seconds until ranks are ended by force. `group_timeout`: the process group's own. `absent`: ranks
        that are not waited for, as they stop.
        """
        target = (fn.__module__, inspect.getfile(fn), fn.__qualname__)
        self._conn.send(
            World(ranks, target, pickle.dumps(args), timeout, group_timeout, tuple(absent), dict(env or {}))
        )
        return self._receive(timeout + GRACE)

    def _receive(self, timeout: float) -> Any:
        if self._conn.poll(timeout):
            try:
                return self._conn.recv()
            except EOFError:
                pass
        self.close()
        self._log.seek(0)
        raise AssertionError("the parent of the ranks ended or hangs\n" + self._log.read().decode(errors="replace"))

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._conn.close()
        self._process.kill()
        self._process.wait()
