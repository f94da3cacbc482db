"""Runs a function (or a program) on N Gloo ranks, each a fresh process, and never hangs.

    run_ranks(2, fn, args)          start 2 processes, run, end them
    pool = RankPool(2); pool(fn)    keep them
    run_programs(2, ["./prog"])     any program, with torchrun's environment variables

A rank is a fork of a process that has imported torch, weft and what it is told to (zygote.py), and nothing else has
happened there; with `import_weft=False` it is a process of its own, that has imported torch alone.

All return one value per rank. A rank that raises, dies or hangs ends all of them, and the AssertionError holds every
rank's traceback, Python stack (of a hang) and output. `WEFT_TEST_GDB=1` adds native stacks of a hang.
"""

import inspect
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, BinaryIO

from . import zygote
from .rank_process import Process, Rank, environments, exit_status, launch, report, stacks

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

    Returns the function's value for each rank, or what the script prints on each. `init=False` leaves
    `init_process_group` to the function; scripts always do that themselves. `timeout` is in seconds and counts
    from the moment when all ranks are up. Raises AssertionError when a rank fails or the time is over.
    """
    if callable(fn_or_script):
        with RankPool(nprocs, init=init, import_weft=import_weft, env=env) as pool:
            return pool(fn_or_script, *args, timeout=timeout)
    with RankPool(nprocs, init=False, import_weft=import_weft, env=env) as pool:
        return pool.script(fn_or_script, *args, timeout=timeout)


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
            for rank, environ in enumerate(environments(nprocs, env or {})):
                ranks.append(Rank(rank, tmp, lambda out, e=environ: launch([str(c) for c in command], e, out, cwd=cwd)))
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
                raise AssertionError(report(what, ranks, states, {}))
            return [r.output() for r in ranks]
        finally:
            for r in ranks:
                r.kill()


class RankPool:
    """`nprocs` long-lived rank processes with one Gloo group, started at first use and again after a failure.

    `pool(fn, *args, timeout=60, **kwargs)` runs a top-level function on all ranks, with torch's seed set to 0, and
    returns its values by rank. Arguments and values travel by pickle; the function is found again by its module's file
    and its name, so it can be neither a lambda nor nested. `imports`: modules that all ranks will need.
    """

    def __init__(
        self,
        nprocs: int,
        *,
        init: bool = True,
        import_weft: bool = True,
        env: Mapping[str, str] | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        self.nprocs, self._init, self._import_weft = nprocs, init, import_weft
        self._env, self._imports = dict(env or {}), tuple(imports)
        self.inside: Sequence[Sequence[str]] = [()] * nprocs  # commands that run the ranks' own, in networks, say
        self._ranks: list[Rank] = []
        self._tmp: tempfile.TemporaryDirectory | None = None

    def __call__(self, fn: Callable, *args: Any, timeout: float = 60, **kwargs: Any) -> list:
        if "<" in fn.__qualname__:
            raise ValueError(f"{fn.__qualname__}: only a top-level function can be run on ranks")
        target = (fn.__module__, inspect.getfile(fn), fn.__qualname__)
        # Pickled apart: classes among the arguments can only be found once the function's module has been loaded.
        return self._call(("call", target, pickle.dumps((args, kwargs))), f"{fn.__module__}.{fn.__qualname__}", timeout)

    def script(self, path: str | Path, *args: Any, timeout: float = 60) -> list[str]:
        """Runs a program, once: what it leaves behind stays. Returns what it prints on each rank."""
        self._call(("script", str(path), [str(a) for a in args]), str(path), timeout)
        return [r.output() for r in self._ranks]

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
            "nprocs": self.nprocs,
            "init": self._init,
            "import_weft": self._import_weft,
            "store": os.path.join(self._tmp.name, "store"),
            "path": [] if self._forked else sys.path,
        }
        for rank, environ in enumerate(environments(self.nprocs, self._env)):
            ours, theirs = socket.socketpair()
            with theirs:
                self._ranks.append(
                    Rank(rank, self._tmp.name, lambda out, r=rank, e=environ, t=theirs: self._process(r, e, t, out))
                )
            self._ranks[-1].conn = Connection(ours.detach())
        self._exchange(options, "starting the ranks", START_TIMEOUT)

    @property
    def _forked(self) -> bool:
        return self._import_weft and not any(self.inside)

    def _process(self, rank: int, environ: Mapping[str, str], theirs: socket.socket, out: BinaryIO) -> Process:
        if self._forked:
            return zygote.of(self._env, self._imports).start(environ, theirs, out)
        command = [*self.inside[rank], sys.executable, str(WORKER), str(theirs.fileno())]
        return launch(command, environ, out, [theirs.fileno()])

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
                    ok, value = False, f"the process ended: {exit_status(r.process.returncode)}"
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
        native = stacks(list(pending.values()))
        for r in pending.values():
            states[r.rank] = "still running, killed"
        if not errors:
            what += f": not done after {timeout} s"
        raise AssertionError(report(what, self._ranks, states, native))
