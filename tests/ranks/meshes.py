"""Meshes and layouts that the tests of several files lay out over."""

import torch
import weft


def line(name: str = "a") -> weft.DeviceMesh:
    """All ranks on one axis."""
    return weft.DeviceMesh((weft.world_size(),), (name,), device_type="cpu")


def mesh_of(*shape: int) -> weft.DeviceMesh:
    """Axes "data" and "model", or "model" alone."""
    return weft.DeviceMesh(shape, ("data", "model")[-len(shape) :], device_type="cpu")


def data_and_model() -> weft.DeviceMesh:
    """Four ranks by two and two; of fewer all on "model"."""
    return mesh_of(2, 2) if weft.world_size() == 4 else mesh_of(1, weft.world_size())


def layouts_of(model: torch.nn.Module) -> weft.LayoutMap:
    """FSDP over "data", Megatron's over "model"."""
    mesh = data_and_model()
    return weft.layouts.fsdp(model, mesh, "data", whole=0) | weft.layouts.megatron(model, mesh, "model")
