"""One process of ranks.RankPool, and what is told of those that failed."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import BinaryIO, Protocol


class Process(Protocol):
    """What subprocess.Popen and zygote.Forked have alike."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int) -> None: ...
    def kill(self) -> None: ...


def launch(
    command: Sequence[str], environ: Mapping[str, str], out: BinaryIO, fds: Sequence[int] = (), cwd: str | None = None
) -> Process:
    """A new process whose output goes to a file."""
    return subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=fds
    )


class Rank:
    """One process, with its output in a file: a pipe that nobody reads would block it."""

    conn: Connection

    def __init__(self, rank: int, folder: str, start: Callable[[BinaryIO], Process]) -> None:
        self.rank, self._file, self._from = rank, os.path.join(folder, f"rank{rank}.log"), 0
        with open(self._file, "wb") as out:
            self.process = start(out)

    def send(self, message: bytes) -> None:
        try:
            self.conn.send_bytes(message)
        except OSError:
            pass  # it has died: its end of the connection says so when the answers are collected

    def mark(self) -> None:
        """The output of the next call starts here."""
        self._from = os.path.getsize(self._file)

    def output(self) -> str:
        with open(self._file, "rb") as f:
            f.seek(self._from)
            return f.read().decode(errors="replace")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def environment() -> dict[str, str]:
    """The environment of every process that tests start."""
    return {
        "PYTHONHASHSEED": "0",  # sets of strings (some of OpInfo's samples are) in one order on all ranks
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONUNBUFFERED": "1",
    }


def environments(nprocs: int, extra: Mapping[str, str]) -> list[dict[str, str]]:
    """Each rank's, as torchrun sets it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = {
        **environment(),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(nprocs),
        "LOCAL_WORLD_SIZE": str(nprocs),
    }
    return [{**common, "RANK": str(r), "LOCAL_RANK": str(r), **extra} for r in range(nprocs)]


def stacks(ranks: list[Rank]) -> dict[int, str]:
    """Makes each rank print its Python stacks into its output; returns native ones where asked for."""
    for r in ranks:
        r.process.send_signal(signal.SIGUSR1)
    gdb = shutil.which("gdb") if os.environ.get("WEFT_TEST_GDB") else None
    native = {}
    for r in ranks if gdb else []:
        command = [gdb, "-p", str(r.process.pid), "-batch", "-ex", "thread apply all bt 25"]
        try:
            native[r.rank] = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        except subprocess.TimeoutExpired:
            native[r.rank] = "gdb took too long"
    if ranks:
        time.sleep(0.5)
    for r in ranks:
        r.kill()
    return native


def report(what: str, ranks: list[Rank], states: dict[int, str], native: dict[int, str]) -> str:
    parts = [what]
    for r in ranks:
        parts.append(f"--- rank {r.rank}: {states[r.rank]}")
        output = r.output().strip()
        if output:
            parts.append("output:\n" + output[-20000:])
        if r.rank in native:
            parts.append("native stacks:\n" + native[r.rank][-20000:])
    return "\n".join(itertools.chain(parts, [""]))


def exit_status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
