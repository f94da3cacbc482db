"""What saves in the background and loads need of memory beside a rank's own shards, and what a load reads."""

import torch
import weft
from support.cases import meshes

ROWS, COLUMNS = 24_000, 4096  # 375 MiB of float32


def read_bytes():
    return int(open("/proc/self/io").read().split("rchar: ")[1].split()[0])


def peak():
    """The peak of this process's memory since `reset`, in bytes."""
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) << 10


def now():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) << 10


def reset():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    return peak()


def saves(folder):
    mesh = meshes(weft.world_size())[0]
    layout = weft.TensorLayout((None, "a"), mesh)
    w = torch.ops.weft._empty((ROWS, COLUMNS), layout._object, dtype=torch.float32, device="cpu").fill_(1)
    weft.save(folder, {"w": w})


def loads(folder, axes, has_value):
    """Peak above what was there and the shard itself, what was read, and whether the values are right."""
    mesh = meshes(weft.world_size())[0]
    layout = weft.TensorLayout(axes, mesh)
    if has_value:
        w = torch.ops.weft._empty((ROWS, COLUMNS), layout._object, dtype=torch.float32, device="cpu").fill_(0)
        before, shard = reset(), 0
    else:
        before = reset()
        with torch.device("meta"):
            net = torch.nn.Module()
            net.w = torch.nn.Parameter(torch.empty(ROWS, COLUMNS))
        weft.distribute_module(net, weft.LayoutMap(mesh, {"w": axes}), param_init_fn=lambda m: None)
        w = net.w
        shard = weft.local_tensor(w.detach()).nbytes
    start = read_bytes()
    weft.load(folder, {"w": w} if has_value else net)
    read = read_bytes() - start
    return peak() - before - shard, read, (weft.local_tensor(w.detach()) == 1).all().item()


def test_peak_and_bytes(ranks2, ranks3, tmp_path):
    folder = str(tmp_path / "c")
    ranks2(saves, folder, timeout=120)
    whole = ROWS * COLUMNS * 4
    for axes in (("a", None), (None, "a")):
        for extra, read, right in ranks3(loads, folder, axes, False, timeout=120):
            assert right and extra < 64 << 20, (axes, extra >> 20)
            assert read < whole / 3 * 1.1 + (1 << 20), (axes, read / whole)
    for extra, read, right in ranks3(loads, folder, (None, "a"), True, timeout=120):
        assert right and extra < 64 << 20, extra >> 20
        assert read < 2 * whole / 3 * 1.1 + (1 << 20), read / whole


def saves_behind(folder):
    """What is held, in parts of the shard, with a handle, with that of a second save, and without one."""
    mesh = meshes(weft.world_size())[0]
    w = torch.ops.weft._empty((ROWS, COLUMNS), weft.TensorLayout(("a", None), mesh)._object, dtype=torch.float32)
    w.fill_(1)
    shard, before, held = weft.local_tensor(w).nbytes, now(), []
    pending = weft.async_save(folder, {"w": w})
    pending.wait()
    held.append((now() - before) / shard)
    pending = weft.async_save(folder, {"w": w})
    pending.wait()
    held.append((now() - before) / shard)
    del pending
    held.append((now() - before) / shard)
    return held


def test_the_copy_is_kept_with_its_handle(ranks3, tmp_path):
    for first, second, without in ranks3(saves_behind, str(tmp_path / "c"), timeout=120):
        assert 0.9 < first < 1.2 and 0.9 < second < 1.2 and without < 0.2, (first, second, without)
