"""Ranks as forks of one process that has imported torch and weft: importing takes each seconds, a fork milliseconds."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from .rank_process import environment, launch

START_TIMEOUT = 120.0  # seconds: import torch on a loaded machine
PROGRAM = Path(__file__).with_name("zygote_main.py")
# What takes long to import: the ranks' parent imports of it what this process has, as their test modules will.
PACKAGES = {"accelerate", "diffusers", "peft", "timm", "torchmetrics", "torchvision", "transformers", "trl"}

_zygotes: dict[tuple, Zygote] = {}


@atexit.register
def _end() -> None:
    for zygote in _zygotes.values():
        zygote.close()


def of(env: Mapping[str, str], imports: Sequence[str]) -> Zygote:
    """The one with these environment variables more, which has imported these modules too; started at first use."""
    key = (tuple(sys.path), tuple(sorted(env.items())), tuple(imports))
    found = _zygotes.get(key)
    if found is None or found.process.poll() is not None:
        found = _zygotes[key] = Zygote(env, imports)
    return found


class Zygote:
    def __init__(self, env: Mapping[str, str], imports: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as log:
            command = [sys.executable, str(PROGRAM), str(theirs.fileno())]
            self.process = launch(command, {**environment(), **env}, log, [theirs.fileno()])
            theirs.close()
            heavy = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
            self._control.send(pickle.dumps((sys.path, [*imports], heavy)))
            self._control.settimeout(START_TIMEOUT)
            if not self._control.recv(1):
                self.process.wait()
                log.seek(0)
                raise AssertionError("importing what ranks need\n" + log.read().decode(errors="replace"))

    def close(self) -> None:
        """Ends it, and with it all of its ranks that are still there."""
        self._control.close()
        self.process.wait()

    def start(self, environ: Mapping[str, str], conn: socket.socket, out: BinaryIO) -> Forked:
        """A rank that serves at that socket, with its output in that file."""
        exits, exit_of = os.pipe()
        message = pickle.dumps((dict(environ), os.getcwd()))
        socket.send_fds(self._control, [message], [conn.fileno(), out.fileno(), exit_of])
        os.close(exit_of)
        return Forked(exits)


class Forked:
    """A rank's process, with the faces of subprocess.Popen that are used; its parent tells how it ends."""

    def __init__(self, told: int) -> None:
        self._told, self.returncode = told, None
        self.pid = self._next()

    def _next(self) -> int:
        data = os.read(self._told, 4)
        return struct.unpack("i", data)[0] if data else -signal.SIGKILL  # the parent has ended, and all with it

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = self._next()
            os.close(self._told)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"rank {self.pid}", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
