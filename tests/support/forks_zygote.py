"""The parent of the ranks of forks.Forks: python forks_zygote.py <socket>. It never makes a thread."""

import ctypes
import datetime
import faulthandler
import gc
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
EXIT_LIMIT = 15.0  # seconds from a program's end until its process is gone
STACKS = 0.5  # seconds that a rank gets to print where it hangs


def end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Fork:
    """One rank, as its parent sees it."""

    def __init__(self, pid: int, told: Connection, output: tempfile._TemporaryFileWrapper) -> None:
        from support.forks import RankEnd

        self.pid, self.told, self.output, self.end = pid, told, output, RankEnd()

    def exited(self) -> bool:
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if found:
            self.end.exit = os.waitstatus_to_exitcode(status)
        return bool(found)

    def end_by_force(self, hung_at: str) -> None:
        if hung_at:
            self.end.hung = hung_at
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(STACKS)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        if not hung_at:
            self.end.exit = -signal.SIGKILL


def start(world) -> tuple[list[Fork], Connection] | Callable[[], None]:
    """The ranks and what lets them go; in a rank, what it is to do."""
    listener = socket.create_server(("127.0.0.1", 0))
    released, release = Pipe(duplex=False)
    forks = []
    for rank in range(world.ranks):
        told, tell = Pipe(duplex=False)
        output = tempfile.TemporaryFile()
        pid = os.fork()
        if pid == 0:
            end_with_parent()
            release.close()
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            return lambda: live(world, rank, listener, tell, released)
        tell.close()
        forks.append(Fork(pid, told, output))
    listener.close()
    released.close()
    return forks, release


def live(world, rank: int, listener: socket.socket, told: Connection, released: Connection) -> None:
    """One rank's life."""
    import torch
    import torch.distributed as dist
    from ranks_worker import find

    def tell(kind: str, *data) -> None:
        told.send((kind, time.monotonic(), data))

    os.environ.update(world.env, RANK=str(rank), WORLD_SIZE=str(world.ranks), LOCAL_RANK=str(rank))
    dist.set_debug_level_from_env()
    limit = datetime.timedelta(seconds=world.group_timeout)
    own = {"is_master": True, "master_listen_fd": listener.fileno()} if rank == 0 else {}
    try:
        store = dist.TCPStore("127.0.0.1", listener.getsockname()[1], world.ranks, timeout=limit, **own)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world.ranks, timeout=limit)
        torch.manual_seed(0)
        find(*world.target)(tell, *pickle.loads(world.arguments))
    except Exception as e:
        tell("raised", f"{type(e).__name__}: {e}")
    tell("over")
    told.close()
    released.poll(None)
    sys.stdout.flush()
    os._exit(0)  # Python's own end takes a second; tests/faults/test_exits.py is about it


def run(forks: list[Fork], release: Connection, world) -> list:
    """Hears the ranks out, lets them go and tells how each ended."""
    from support.forks import Event

    deadline = time.monotonic() + world.timeout
    talking = {f.told: f for rank, f in enumerate(forks) if rank not in world.absent}
    silent = {f.told: f for rank, f in enumerate(forks) if rank in world.absent}
    while talking and (left := deadline - time.monotonic()) > 0:
        for told in wait([*talking, *silent], timeout=left):
            among = talking if told in talking else silent
            try:
                among[told].end.events.append(Event(*told.recv()))
            except EOFError:
                del among[told]
    for fork in talking.values():
        fork.end_by_force("its program")
    release.close()
    leaving = [f for f in forks if f not in talking.values()]
    deadline = time.monotonic() + EXIT_LIMIT
    while True:
        leaving = [f for f in leaving if not f.exited()]
        if all(forks.index(f) in world.absent for f in leaving) or time.monotonic() > deadline:
            break
        time.sleep(0.002)
    for fork in leaving:
        fork.end_by_force("" if forks.index(fork) in world.absent else "its exit")
    for fork in forks:
        fork.output.seek(0)
        fork.end.output = fork.output.read().decode(errors="replace")
        fork.output.close()
        fork.told.close()
    return [f.end for f in forks]


def main() -> Callable[[], None] | None:
    conn = Connection(int(sys.argv[1]))
    sys.path[:] = conn.recv() + [os.path.dirname(__file__)]
    import torch
    import torch._dynamo  # noqa: F401  (which the first optimizer imports, for seconds)
    import weft  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # or each rank would copy the pages that a collection marks
    conn.send("ready")
    while True:
        try:
            world = conn.recv()
        except (EOFError, OSError):
            return None
        found = start(world)
        if callable(found):
            conn.close()
            return found
        conn.send(run(*found, world))


if __name__ == "__main__":
    end_with_parent()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if rank_program := main():
        rank_program()
