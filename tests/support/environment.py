"""The variables that tell a process of its job, and a group that was there before weft."""

import torch
import weft

NAMES = [
    *("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"),
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"),
]


def adopt():
    weft.initialize()
    message = ""
    try:
        weft.initialize(num_processes=7, process_id=0)
    except ValueError as e:
        message = str(e)
    mesh = weft.DeviceMesh((2,), ("x",), device_type="cpu")
    x = weft.distribute_tensor(torch.arange(3.0), ("x",), mesh)
    return weft.world_size(), message, mesh.coordinates, x.sum().item()
