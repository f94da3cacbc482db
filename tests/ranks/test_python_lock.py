"""Collectives that run while Python's global lock is held, as in `x[...] = value`, do not wait for it."""

import torch
import weft


def results_known_to_python():
    mesh = weft.DeviceMesh((2,), ("a",), device_type="cpu")
    x = weft.distribute_tensor(torch.ones(7, 5), ("a", None), mesh)
    part = weft.from_local(torch.ones(3), weft.TensorLayout((None,), mesh, partial={"a": "sum"}))
    for _ in range(500):
        whole = weft.full_tensor(part)  # Gloo's thread may still hold it: if it drops it last, it takes the lock
        x[-1, 0] = 2.0  # gathers under the lock
    return whole.tolist(), weft.full_tensor(x)[-1, 0].item()


def test_collective_in_setitem_does_not_hang(ranks2):
    assert ranks2(results_known_to_python, timeout=60) == [([2.0, 2.0, 2.0], 2.0)] * 2
