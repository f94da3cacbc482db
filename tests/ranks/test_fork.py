"""A process forked off a rank has none of its connections: it is told so at once, and the parents go on."""

import os
import pickle
import select
import signal
import sys
import time

import torch
import torch.distributed as dist
import weft
from ranks.meshes import line
from support.cases import SOON
from support.ranks import run_programs, run_ranks
from torch.utils.data import DataLoader

LIMIT = 20.0  # seconds for a child


def rows():
    return weft.distribute_tensor(torch.arange(8.0).view(4, 2), ("a", None), line())


def in_child(call):
    """What a forked child gets of it: the error's type and text, or the value, and the seconds it took."""
    read, write = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            answer = "", call()
        except BaseException as e:
            answer = type(e).__name__, str(e)
        os.write(write, pickle.dumps(answer))
        os._exit(0)
    os.close(write)
    there, _, _ = select.select([read], [], [], LIMIT)
    answer = pickle.loads(os.read(read, 1 << 16)) if there else ("", "hangs")
    os.close(read)
    if not there:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return *answer, time.monotonic() - start


def backward(x):
    w = torch.ones(2, requires_grad=True)
    (x @ w).sum().backward()
    return w.grad.tolist()


USES = {
    "value": lambda x: x.sum().item(),
    "full_tensor": weft.full_tensor,
    "distribute_tensor": lambda x: rows(),
    "redistribute": lambda x: weft.distribute_tensor(x, (None, None), line()),
    "mesh": lambda x: weft.DeviceMesh((2,), ("new",), device_type="cpu"),
    "coordinates": lambda x: weft.DeviceMesh((2,), ("newer",), device_type="cpu").coordinates,
    "distribute_module": lambda x: weft.distribute_module(torch.nn.Linear(2, 2), mesh=line()),
    "initialize": lambda x: weft.initialize(),
    "backward": backward,
}
LOCAL = {
    "shape": lambda x: list(x.shape),
    "local part": lambda x: weft.local_tensor(x).tolist(),
    "local op": lambda x: weft.local_tensor(x * 2 + 1).tolist(),
    "repr": lambda x: torch.ops.weft.type_str(x) in repr(x),
    "plain": lambda x: (torch.ones(3) + 1).tolist(),
}


def children():
    x = rows()
    index = weft.distribute_tensor(torch.tensor([100, 100]), ("a",), line())
    weft.full_tensor(x)
    found = {name: in_child(lambda use=use: use(x)) for name, use in (USES | LOCAL).items()}
    found["wrong row"] = in_child(lambda: torch.nn.functional.embedding(index, torch.ones(4, 2)))
    alive = weft.full_tensor(x.sum()).item()
    after = weft.DeviceMesh((1, 2), ("b", "c"), device_type="cpu")
    return found, alive, weft.full_tensor(weft.distribute_tensor(torch.ones(4), ("c",), after)).sum().item()


def test_forked_children(ranks2):
    for rank, (found, *alive) in enumerate(ranks2(children, timeout=120)):
        assert alive == [28.0, 4.0], "the parents go on"
        for name in USES:
            kind, text, took = found[name]
            assert kind == "RuntimeError" and took < SOON, (name, found[name])
            assert f"forked off rank {rank} of a world of 2" in text and "'spawn'" in text, (name, text)
        kind, text, _ = found["wrong row"]
        assert kind == "IndexError" and "told" not in text, "a kernel that fails there does not tell the parents' world"
        part = [[4.0 * rank, 4.0 * rank + 1], [4.0 * rank + 2, 4.0 * rank + 3]]
        expected = [[4, 2], part, [[2 * v + 1 for v in row] for row in part], True, [2.0] * 3]
        assert [found[name][:2] for name in LOCAL] == [("", value) for value in expected]


class Items(torch.utils.data.Dataset):
    def __init__(self, sharded=None):
        self.sharded = sharded

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if self.sharded is not None:
            return weft.full_tensor(self.sharded)[i % 4]
        return torch.full((2,), float(i))


def with_workers():
    model = weft.distribute_module(torch.nn.Linear(2, 3), {"weight": ("a", None)}, mesh=line())
    total = 0.0
    for batch in DataLoader(Items(), batch_size=4, num_workers=2, multiprocessing_context="fork"):
        model(batch).sum().backward()
        total += batch.sum().item()
    gradient = weft.full_tensor(model.weight.grad)
    try:
        list(DataLoader(Items(rows()), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=LIMIT))
        error = ""
    except RuntimeError as e:
        error = str(e)
    return total, gradient, error, weft.full_tensor(rows()).sum().item()


def test_workers_of_a_data_loader(ranks2):
    for total, gradient, error, after in ranks2(with_workers):
        assert total == 56.0 and gradient.eq(28.0).all() and after == 28.0
        assert "forked off rank" in error and "plain tensors only" in error


def fork_first(store):
    """Children that are forked before the world is there may make one of their own."""
    pids, pipes = [], []
    for rank in range(2):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
                weft.initialize()
                os.write(write, str(weft.full_tensor(rows()).sum().item()).encode())
            finally:
                os._exit(0)
        os.close(write)
        pids.append(pid), pipes.append(read)
    found = []
    for pid, pipe in zip(pids, pipes, strict=True):
        there, _, _ = select.select([pipe], [], [], LIMIT)
        found.append(os.read(pipe, 100).decode() if there else "hangs")
        if not there:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def test_children_that_make_a_world(tmp_path):
    assert run_ranks(1, fork_first, [str(tmp_path / "store")], init=False) == [["28.0", "28.0"]]


SPAWNING = """
import multiprocessing
import weft

weft.initialize(timeout=20)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    child.join(30)
    print(f"child {child.exitcode}, of {weft.world_size()}")
"""


def test_children_that_are_spawned(tmp_path):
    """They import the main file, which would have each wait for ever as one more rank."""
    program = tmp_path / "program.py"
    program.write_text(SPAWNING)
    for out in run_programs(2, [sys.executable, str(program)], timeout=90):
        assert "child 1, of 2" in out and "[W004]" in out and 'if __name__ == "__main__":' in out, out
