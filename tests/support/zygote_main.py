"""The parent of ranks that are forks: python zygote_main.py <socket>. See zygote.py."""

import contextlib
import gc
import importlib
import os
import pickle
import select
import socket
import struct
import sys
from typing import NoReturn

MESSAGE = 1 << 20  # bytes that a request takes at most


def main() -> NoReturn:
    """Forks for each request; a fork serves at the socket that comes with it."""
    import ranks_worker  # not above: what a rank spawns imports this file once more, with another path

    ranks_worker.prepare()
    control = socket.socket(fileno=int(sys.argv[1]))
    path, imports, heavy = pickle.loads(control.recv(MESSAGE))
    sys.path[:] = path
    import torch
    import torch._dynamo  # which the first optimizer imports, for seconds
    import weft  # noqa: F401

    for name in imports:
        importlib.import_module(name)
    for name in heavy:
        with contextlib.suppress(ImportError):  # a module that is only part of another's import
            importlib.import_module(name)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or each rank would copy the pages that a collection marks
    control.send(b"+")
    running: dict[int, tuple[int, int]] = {}  # by the process's descriptor: its number, and where its end is told
    while True:
        for ready in select.select([control, *running], [], [])[0]:
            if ready is not control:
                pid, told = running.pop(ready)
                tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                os.close(ready)
                continue
            message, fds, _, _ = socket.recv_fds(control, MESSAGE, 3)
            if not message:
                os._exit(0)  # and the ranks with it
            conn, out, told = fds
            pid = os.fork()
            if pid == 0:
                for fd in (control.detach(), told, *running, *(told for _, told in running.values())):
                    os.close(fd)
                become(*pickle.loads(message), out)
                ranks_worker.prepare()
                ranks_worker.serve(conn)
            tell(told, pid)
            running[os.pidfd_open(pid)] = pid, told
            os.close(conn)
            os.close(out)


def become(environ: dict[str, str], folder: str, out: int) -> None:
    """A process with that environment, in that folder, which prints into that file."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.close(out)
    sys.modules["torch.distributed"].set_debug_level_from_env()  # read at its import


def tell(where: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(where, struct.pack("i", number))


if __name__ == "__main__":
    main()
