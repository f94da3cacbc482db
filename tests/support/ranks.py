"""Runs a function (or a program) on N Gloo ranks, each a fresh process, and never hangs.

    run_ranks(2, fn, args)          start 2 processes, run, end them
    pool = RankPool(2); pool(fn)    keep them: importing torch is most of what a test with processes costs
    run_programs(2, ["./prog"])     any program, with torchrun's environment variables

All return one value per rank. A rank that raises, dies or hangs ends all of them, and the AssertionError holds every
rank's traceback, Python stack (of a hang) and output. `WEFT_TEST_GDB=1` adds native stacks of a hang.
"""

import inspect
import itertools
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

START_TIMEOUT = 120.0  # seconds: import torch on N processes of a loaded machine
GRACE = 3.0  # seconds that the other ranks get to end by themselves once one has failed
WORKER = Path(__file__).with_name("ranks_worker.py")


def run_ranks(
    nprocs: int,
    fn_or_script: Callable | str | Path,
    args: Sequence = (),
    timeout: float = 60,
    *,
    init: bool = True,
    import_weft: bool = True,
    env: Mapping[str, str] | None = None,
) -> list:
    """Runs a top-level function, or a Python script, once on each of `nprocs` fresh processes.

    Returns the function's value for each rank, or the script's standard output for each rank. `init=False` leaves
    `init_process_group` to the function; scripts always do that themselves. `timeout` is in seconds and counts
    from the moment when all ranks are up. Raises AssertionError when a rank fails or the time is over.
    """
    script = not callable(fn_or_script)
    with RankPool(nprocs, init=init, import_weft=import_weft, env=env) as pool:
        if script:
            pool._bare = True
            return pool._call(("script", str(fn_or_script), [str(a) for a in args]), f"{fn_or_script}", timeout)
        return pool(fn_or_script, *args, timeout=timeout)


def run_programs(
    nprocs: int,
    command: Sequence[str],
    timeout: float = 60,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> list[str]:
    """Runs a program on each of `nprocs` ranks (RANK, WORLD_SIZE, MASTER_ADDR, … set) in the folder `cwd`; returns each
    one's output."""
    with tempfile.TemporaryDirectory(prefix="weft-ranks-") as tmp:
        ranks = []
        try:
            for rank, environ in enumerate(_environments(nprocs, env)):
                ranks.append(_Rank(rank, [str(c) for c in command], environ, tmp, cwd=cwd))
            end = time.monotonic() + timeout
            failed_at = None
            while any(r.process.poll() is None for r in ranks):
                now = time.monotonic()
                if failed_at is None and any(r.process.poll() for r in ranks):
                    failed_at = now
                if now > end or (failed_at and now > failed_at + GRACE):
                    break
                time.sleep(0.02)
            late = [r for r in ranks if r.process.poll() is None]
            if late or any(r.process.returncode for r in ranks):
                for r in ranks:
                    r.kill()
                states = {r.rank: f"exit code {r.process.returncode}" for r in ranks}
                states.update({r.rank: "still running, killed" for r in late})
                what = " ".join(map(str, command))
                if late and not failed_at:
                    what += f": not done after {timeout} s"
                raise AssertionError(_report(what, ranks, states, {}))
            return [r.output() for r in ranks]
        finally:
            for r in ranks:
                r.kill()


class RankPool:
    """`nprocs` long-lived rank processes with one Gloo group, started at first use and again after a failure.

    `pool(fn, *args, timeout=60, **kwargs)` runs a top-level function on all ranks, with torch's seed set to 0, and
    returns its values by rank. Arguments and values travel by pickle; the function is found again by its module's file
    and its name, so it can be neither a lambda nor nested.
    """

    def __init__(
        self, nprocs: int, *, init: bool = True, import_weft: bool = True, env: Mapping[str, str] | None = None
    ) -> None:
        self.nprocs, self._init, self._import_weft, self._env = nprocs, init, import_weft, env
        self.inside: Sequence[Sequence[str]] = [()] * nprocs  # commands that run the ranks' own, in networks, say
        self._bare = False  # for a script: nothing is imported before it
        self._ranks: list[_Rank] = []
        self._tmp: tempfile.TemporaryDirectory | None = None

    def __call__(self, fn: Callable, *args: Any, timeout: float = 60, **kwargs: Any) -> list:
        if "<" in fn.__qualname__:
            raise ValueError(f"{fn.__qualname__}: only a top-level function can be run on ranks")
        target = (fn.__module__, inspect.getfile(fn), fn.__qualname__)
        # Pickled apart: classes among the arguments can only be found once the function's module has been loaded.
        return self._call(("call", target, pickle.dumps((args, kwargs))), f"{fn.__module__}.{fn.__qualname__}", timeout)

    run = __call__

    def __enter__(self) -> "RankPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes; the next call starts new ones."""
        for r in self._ranks:
            r.conn.close()  # an idle worker takes this as the end
        end = time.monotonic() + 2
        for r in self._ranks:
            try:
                r.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            r.kill()
        self._ranks = []
        if self._tmp:
            self._tmp.cleanup()
            self._tmp = None

    def pids(self) -> list[int]:
        return [r.process.pid for r in self._ranks]

    def _start(self) -> None:
        self._tmp = tempfile.TemporaryDirectory(prefix="weft-ranks-")
        options = {
            "script": self._bare,
            "nprocs": self.nprocs,
            "init": self._init,
            "import_weft": self._import_weft,
            "store": os.path.join(self._tmp.name, "store"),
            "path": sys.path,
        }
        for rank, environ in enumerate(_environments(self.nprocs, self._env)):
            ours, theirs = socket.socketpair()
            with theirs:
                command = [*self.inside[rank], sys.executable, str(WORKER), str(theirs.fileno())]
                self._ranks.append(_Rank(rank, command, environ, self._tmp.name, theirs.fileno()))
            self._ranks[-1].conn = Connection(ours.detach())
        self._exchange(options, "starting the ranks", START_TIMEOUT)

    def _call(self, request: tuple, what: str, timeout: float) -> list:
        if not self._ranks:
            self._start()
        return self._exchange(request, what, timeout)

    def _exchange(self, request: object, what: str, timeout: float) -> list:
        """Sends the request to all ranks and collects their answers; on any failure the processes are ended."""
        try:
            message = pickle.dumps(request)
            for r in self._ranks:
                r.mark()
                r.send(message)
            return self._collect(what, timeout)
        except BaseException:  # also a KeyboardInterrupt or pytest's own timeout: the ranks are of no use now
            for r in self._ranks:
                r.kill()
            self.close()
            raise

    def _collect(self, what: str, timeout: float) -> list:
        values: dict[int, Any] = {}
        errors: dict[int, str] = {}
        pending = {r.conn: r for r in self._ranks}
        end = time.monotonic() + timeout
        while pending and (left := end - time.monotonic()) > 0:
            for conn in wait(list(pending), timeout=left):
                r = pending.pop(conn)
                try:
                    ok, value = pickle.loads(conn.recv_bytes())
                except (EOFError, OSError):
                    r.process.wait()
                    ok, value = False, f"the process ended: {_exit_status(r.process.returncode)}"
                if ok:
                    values[r.rank] = value
                elif not errors:
                    errors[r.rank] = value
                    end = min(end, time.monotonic() + GRACE)
                else:
                    errors[r.rank] = value
        if not pending and not errors:
            return [values[r.rank] for r in self._ranks]
        states = {r.rank: "ok" for r in self._ranks}
        states.update({rank: f"FAILED\n{text}" for rank, text in errors.items()})
        stacks = _stacks(list(pending.values()))
        for r in pending.values():
            states[r.rank] = "still running, killed"
        if not errors:
            what += f": not done after {timeout} s"
        raise AssertionError(_report(what, self._ranks, states, stacks))


class _Rank:
    """One process, with its output in a file: a pipe that nobody reads would block it."""

    conn: Connection

    def __init__(
        self,
        rank: int,
        command: list[str],
        env: dict[str, str],
        folder: str,
        fd: int | None = None,
        cwd: str | Path | None = None,
    ) -> None:
        self.rank, self._file, self._from = rank, os.path.join(folder, f"rank{rank}.log"), 0
        with open(self._file, "wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=[] if fd is None else [fd],
            )

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


def _environments(nprocs: int, extra: Mapping[str, str] | None) -> list[dict[str, str]]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = {
        "PYTHONHASHSEED": "0",  # sets of strings (some of OpInfo's samples are) in one order on all ranks
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(nprocs),
        "LOCAL_WORLD_SIZE": str(nprocs),
        "PYTHONUNBUFFERED": "1",
    }
    return [{**common, "RANK": str(r), "LOCAL_RANK": str(r), **(extra or {})} for r in range(nprocs)]


def _stacks(ranks: list[_Rank]) -> dict[int, str]:
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


def _report(what: str, ranks: list[_Rank], states: dict[int, str], native: dict[int, str]) -> str:
    parts = [what]
    for r in ranks:
        parts.append(f"--- rank {r.rank}: {states[r.rank]}")
        output = r.output().strip()
        if output:
            parts.append("output:\n" + output[-20000:])
        if r.rank in native:
            parts.append("native stacks:\n" + native[r.rank][-20000:])
    return "\n".join(itertools.chain(parts, [""]))


def _exit_status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
