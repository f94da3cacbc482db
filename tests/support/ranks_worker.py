"""One rank of ranks.RankPool: python ranks_worker.py <socket>. Reads requests until the socket is closed."""

import ctypes
import faulthandler
import gc
import importlib
import importlib.util
import os
import pickle
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn


def find(module: str, file: str, qualname: str) -> Callable:
    """The function, from the very file the caller has it from, whatever way that came to be imported."""
    name = "__rank_main__" if module == "__main__" else module
    found = sys.modules.get(name)
    if found is None and "/site-packages/" in file:
        found = importlib.import_module(name)
    if found is None:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec and spec.loader, file
        found = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(found)
        except BaseException:
            del sys.modules[name]
            raise
        gc.collect()  # what earlier calls left is not to be kept
        gc.freeze()
    target: Any = found
    for part in qualname.split("."):
        target = getattr(target, part)
    return target


def start(options: dict) -> None:
    sys.path[:] = options["path"] or sys.path
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    if options["import_weft"]:
        importlib.import_module("weft")
    gc.freeze()  # a collection would go through all that torch is made of: a second for each that a test asks for
    if options["init"]:
        store = dist.FileStore(options["store"], options["nprocs"])
        dist.init_process_group("gloo", store=store, rank=int(os.environ["RANK"]), world_size=options["nprocs"])


def handle(request: Any) -> Any:
    if isinstance(request, dict):
        return start(request)
    if request[0] == "script":
        _, path, args = request
        sys.argv = [path, *args]
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        runpy.run_path(path, run_name="__main__")
        return None
    _, target, arguments = request
    fn = find(*target)
    args, kwargs = pickle.loads(arguments)
    sys.modules["torch"].manual_seed(0)
    return fn(*args, **kwargs)


def serve(fd: int) -> NoReturn:
    """Answers requests until the socket is closed."""
    conn = Connection(fd)
    while True:
        try:
            message = conn.recv_bytes()
        except (EOFError, OSError):
            break
        try:
            reply = pickle.dumps((True, handle(pickle.loads(message))))
        except SystemExit as e:
            ok = e.code in (None, 0)
            reply = pickle.dumps((ok, "" if ok else f"SystemExit: {e.code}"))
        except BaseException:
            reply = pickle.dumps((False, traceback.format_exc()))
        sys.stdout.flush()
        conn.send_bytes(reply)
    os._exit(0)  # Gloo's threads need not be taken down in order


def prepare() -> None:
    """A process of the tests: it does not outlive what started it, and prints its stacks on SIGUSR1."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)


if __name__ == "__main__":
    prepare()
    serve(int(sys.argv[1]))
