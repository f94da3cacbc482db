"""Two ranks that save over and over again, killed at random times: python checkpoint_kills.py FOLDER KILLS

Prints how many kills left which checkpoint. Exit code 1 where one left none, or another value than was saved.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "torch_ops"))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import weft  # noqa: E402

RANKS, LAYOUTS = 2, {"rows": ("a", None), "columns": (None, "a"), "whole": (None, None)}


def value(step: int) -> torch.Tensor:
    return torch.full((600, 500), float(step))


def rank(number: int, folder: str, store: str, step: int, marker: str) -> None:
    """Goes on from the step that was saved last; in turns waiting, and not."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=RANKS)
    weft.initialize()
    mesh = weft.DeviceMesh((RANKS,), ("a",))
    Path(f"{marker}{number}").touch()
    while True:
        step += 1
        tensors = {name: weft.distribute_tensor(value(step), axes, mesh) for name, axes in LAYOUTS.items()}
        save = weft.save if step % 2 else weft.async_save
        save(folder, tensors, extra={"step": step}, step=step)


def killed(folder: str, step: int, delay: float | None) -> float:
    """Starts them and kills them after so many seconds, which it returns; None: after two new checkpoints."""
    with tempfile.TemporaryDirectory() as temporary:
        marker, children = f"{temporary}/started", []
        for number in range(RANKS):
            child = os.fork()
            if child == 0:
                try:
                    rank(number, folder, f"{temporary}/store", step, marker)
                finally:
                    os._exit(1)
            children.append(child)
        while not all(os.path.exists(f"{marker}{number}") for number in range(RANKS)):
            time.sleep(0.001)
        start = time.monotonic()
        if delay is not None:
            time.sleep(delay)
        while delay is None and json.loads(Path(folder, "weft.json").read_text())["step"] < step + 2:
            time.sleep(0.01)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        return time.monotonic() - start


def check(folder: str) -> int:
    tensors = {name: torch.zeros(600, 500) for name in LAYOUTS}
    loaded = weft.load(folder, tensors)
    assert loaded.extra == {"step": loaded.step}, loaded
    for name, t in tensors.items():
        assert torch.equal(t, value(loaded.step)), f"{name} is not of step {loaded.step}"
    return loaded.step


def main() -> None:
    torch.set_num_threads(1)  # threads of a pool would be lost in the children
    folder, kills = sys.argv[1], int(sys.argv[2])
    rng, step, new = random.Random(0), 1, 0
    weft.save(folder, dict.fromkeys(LAYOUTS, value(1)), extra={"step": 1}, step=1)
    span = killed(folder, step, None)
    step = check(folder)
    for _ in range(kills):
        killed(folder, step, rng.uniform(0, span))
        found = check(folder)
        assert found >= step, (found, step)
        new += found > step
        step = found
    weft.save(folder, dict.fromkeys(LAYOUTS, value(step)), extra={"step": step}, step=step)
    check(folder)
    print(f"{kills} kills, {new} of them after a new checkpoint, {step} saves")


if __name__ == "__main__":
    main()
